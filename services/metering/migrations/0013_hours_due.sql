-- What batches and corrections change in hours, one row each: added to usage_hour many at a time, as most hours change
-- many times and nobody waits for them. days: those that the hours are of. A peak that is null: the hour lost something,
-- and its peak is to be found in raw usage. Uncompressed, because the rows live for minutes.
CREATE TABLE hour_due (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    days date [] NOT NULL,
    subscriptions integer [] NOT NULL,
    meters integer [] NOT NULL,
    hours timestamptz [] NOT NULL,
    events bigint [] NOT NULL,
    totals numeric [] NOT NULL,
    peaks numeric [] NOT NULL
);
ALTER TABLE hour_due
    ALTER COLUMN subscriptions SET STORAGE EXTERNAL,
    ALTER COLUMN meters SET STORAGE EXTERNAL,
    ALTER COLUMN hours SET STORAGE EXTERNAL,
    ALTER COLUMN events SET STORAGE EXTERNAL,
    ALTER COLUMN totals SET STORAGE EXTERNAL,
    ALTER COLUMN peaks SET STORAGE EXTERNAL;

-- Hourly usage, wherever it lies. Peaks that were reversed are still in it until that is added.
CREATE VIEW hourly_usage AS
SELECT hour, subscription, meter, sum(events)::bigint AS events, sum(total) AS total, max(peak) AS peak
FROM (
    SELECT hour, subscription, meter, events, total, peak FROM usage_hour
    UNION ALL
    SELECT added.hour, added.subscription, added.meter, added.events, added.total, added.peak
    FROM hour_due AS due
    CROSS JOIN LATERAL unnest(due.hours, due.subscriptions, due.meters, due.events, due.totals, due.peaks)
        AS added (hour, subscription, meter, events, total, peak)
) AS parts
GROUP BY hour, subscription, meter
HAVING sum(events) > 0;

CREATE OR REPLACE VIEW daily_usage AS
SELECT day, subscription, meter, sum(events)::bigint AS events, sum(total) AS total, max(peak) AS peak
FROM (
    SELECT day, subscription, meter, events, total, peak FROM usage_day
    UNION ALL
    SELECT date_trunc('day', hour, 'UTC'), subscription, meter, events, total, peak FROM hourly_usage
) AS parts
GROUP BY day, subscription, meter;
