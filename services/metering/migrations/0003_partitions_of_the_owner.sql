-- The service's role owns no table, so it makes and drops partitions through functions that run as their owner. They
-- touch partitions of these four tables only, named after their first day, and see no schema but this one.

CREATE FUNCTION partition_of(parent text, first_day date) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF parent IS NULL OR first_day IS NULL OR parent NOT IN ('usage', 'usage_midnight', 'sighting', 'usage_hour') THEN
        RAISE EXCEPTION 'metering has no partitions of %, %', parent, first_day USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN parent || '_' || to_char(first_day, 'YYYYMMDD');
END
$$;

-- Make the partition of parent that begins at first_day, where it is missing. Attaching (instead of creating in place)
-- does not block those who are writing to other partitions.
CREATE OR REPLACE FUNCTION make_partition(parent text, first_day date, days integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    child text := partition_of(parent, first_day);
BEGIN
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('metering partitions'));
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    IF parent = 'usage' THEN
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I (digest)', child || '_digest', child);
    END IF;
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent,
        child,
        first_day::timestamp AT TIME ZONE 'UTC',
        (first_day + days)::timestamp AT TIME ZONE 'UTC'
    );
END
$$;

-- Take it out of its table, or finish taking it out. The lock on the table is held for a moment, but those who begin to
-- write wait behind us while we wait for it: so we give up (lock_not_available) when we do not get it soon.
CREATE FUNCTION detach_partition(parent text, first_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    child text := partition_of(parent, first_day);
    is_pending boolean := (SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(child));
BEGIN
    IF is_pending IS NOT NULL THEN
        EXECUTE format(
            'ALTER TABLE %I DETACH PARTITION %I %s', parent, child, CASE WHEN is_pending THEN 'FINALIZE' ELSE '' END
        );
    END IF;
END
$$;

-- Drop it, once it is out of its table.
CREATE FUNCTION drop_partition(parent text, first_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    child text := partition_of(parent, first_day);
BEGIN
    IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(child)) THEN
        RAISE EXCEPTION '% still belongs to %', child, parent USING ERRCODE = 'object_in_use';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', child);
END
$$;

REVOKE EXECUTE ON FUNCTION make_partition, detach_partition, drop_partition FROM PUBLIC;
