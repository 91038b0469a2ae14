-- Usage by day, kept 395 days. Hours move here when they are old, so that writing usage costs nothing more.
CREATE TABLE usage_day (
    day timestamptz NOT NULL,
    events bigint NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    total numeric NOT NULL,
    peak numeric NOT NULL,
    PRIMARY KEY (subscription, meter, day)
) PARTITION BY RANGE (day);

CREATE OR REPLACE FUNCTION partition_of(parent text, first_day date) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF parent IS NULL OR first_day IS NULL
       OR parent NOT IN ('usage', 'usage_midnight', 'sighting', 'usage_hour', 'usage_day') THEN
        RAISE EXCEPTION 'metering has no partitions of %, %', parent, first_day USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN parent || '_' || to_char(first_day, 'YYYYMMDD');
END
$$;

-- Daily usage, wherever it lies: what is not yet moved is added up here.
CREATE VIEW daily_usage AS
SELECT day, subscription, meter, sum(events)::bigint AS events, sum(total) AS total, max(peak) AS peak
FROM (
    SELECT day, subscription, meter, events, total, peak FROM usage_day
    UNION ALL
    SELECT date_trunc('day', hour, 'UTC'), subscription, meter, events, total, peak FROM usage_hour
) AS parts
GROUP BY day, subscription, meter;
