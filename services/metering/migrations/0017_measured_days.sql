-- Usage by UTC day and hour as it is published: state by subscription, meter and day. hours is the JSON of
-- shared.events.daily_usage. Days are measured from usage_hour and raw usage, and stay when those are deleted.
CREATE TABLE measured_days (
    day timestamptz NOT NULL,
    as_of timestamptz NOT NULL,
    revision bigint NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    aggregate numeric NOT NULL,
    hours text NOT NULL,
    PRIMARY KEY (subscription, meter, day),
    CONSTRAINT measured_days_not_below_zero CHECK (aggregate >= 0)
) PARTITION BY RANGE (day);

-- Days that changed, and are to be measured and published again.
CREATE TABLE day_due (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriptions integer [] NOT NULL,
    meters integer [] NOT NULL,
    days timestamptz [] NOT NULL,
    not_before timestamptz
);

CREATE OR REPLACE FUNCTION partition_of(parent text, first_day date) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF parent IS NULL OR first_day IS NULL
       OR parent NOT IN ('usage', 'usage_midnight', 'sighting', 'usage_hour', 'usage_day', 'measured_days') THEN
        RAISE EXCEPTION 'metering has no partitions of %, %', parent, first_day USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN parent || '_' || to_char(first_day, 'YYYYMMDD');
END
$$;

-- Usage that was applied before is published by day as far back as its hours are stored.
INSERT INTO day_due (subscriptions, meters, days)
SELECT array_agg(subscription), array_agg(meter), array_agg(day)
FROM (SELECT DISTINCT subscription, meter, date_trunc('day', hour, 'UTC') AS day FROM usage_hour) AS known
GROUP BY day;
