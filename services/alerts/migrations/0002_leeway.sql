-- Snapshots of consumption are the most frequent change by far, and nearly none crosses a threshold. So a subscription's
-- consumption lies in one small row, beside what of it would change nothing, and its state in a table of its own.
CREATE TABLE states (
    subscription text PRIMARY KEY REFERENCES subscriptions (id),
    state jsonb NOT NULL
);
INSERT INTO states (subscription, state) SELECT id, state FROM subscriptions WHERE state IS NOT NULL;

-- readings: the newest consumption per product, of the current window and of the last one before it, as an array of
-- [product, window start, revision, consumed, burned down]. leeway: what may be consumed without any decision; null:
-- assess first. A level's part is that of its last assessment; what is consumed now is in the readings.
ALTER TABLE subscriptions ADD COLUMN readings json NOT NULL DEFAULT '[]', ADD COLUMN leeway json;
UPDATE subscriptions AS s SET readings = old.readings
FROM (
    SELECT
        subscription,
        json_agg(json_build_array(product, window_start, revision, consumed, burned_down)) AS readings
    FROM consumption GROUP BY subscription
) AS old
WHERE s.id = old.subscription;

-- squawk-ignore ban-drop-table
DROP TABLE consumption;
-- squawk-ignore ban-drop-column
ALTER TABLE subscriptions DROP COLUMN state;

-- Room in each page, so that a row with new readings stays beside the old one and no index is touched.
ALTER TABLE subscriptions SET (fillfactor = 50);
