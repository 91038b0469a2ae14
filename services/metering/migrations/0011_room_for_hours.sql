-- As in 0006, but pages of hours keep room, as those of windows do: an hour is added to again and again, and a row that
-- stays on its page changes no index.
CREATE OR REPLACE FUNCTION make_partition(parent text, first_day date, days integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    child text := partition_of(parent, first_day);
BEGIN
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('metering partitions'));
    IF EXISTS (SELECT FROM pg_class WHERE relname = child AND relnamespace = 'public'::regnamespace) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    IF parent = 'usage' THEN
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I (digest)', child || '_digest', child);
    ELSIF parent = 'usage_hour' THEN
        EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', child);
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
