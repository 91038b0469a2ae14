-- Hours that are out of their table become days, and are dropped: both or neither.
CREATE FUNCTION move_hours(first_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    child text := partition_of('usage_hour', first_day);
BEGIN
    IF to_regclass(child) IS NULL THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(child)) THEN
        RAISE EXCEPTION '% still belongs to its table', child USING ERRCODE = 'object_in_use';
    END IF;
    EXECUTE format($sql$
        INSERT INTO usage_day AS d (day, subscription, meter, events, total, peak)
        SELECT date_trunc('day', hour, 'UTC') AS day, subscription, meter, sum(events), sum(total), max(peak)
        FROM %I GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (subscription, meter, day) DO UPDATE SET
            events = d.events + EXCLUDED.events, total = d.total + EXCLUDED.total,
            peak = greatest(d.peak, EXCLUDED.peak)
        $sql$, child);
    PERFORM drop_partition('usage_hour', first_day);
END
$$;

REVOKE EXECUTE ON FUNCTION move_hours FROM PUBLIC;
