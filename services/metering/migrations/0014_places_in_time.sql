-- Where usage counts (in a term, before a cancellation, while the product is used) may become known after it was applied.
-- What turns out not to count goes into quarantine: its row stays, since it holds the identity, and is marked.
ALTER TABLE usage ADD COLUMN quarantined_at timestamptz;

-- digest: the row of usage that a record in quarantine stands for, where it was applied before. at: the event's time,
-- of these and of after_end, so that a renewal finds what it holds.
ALTER TABLE quarantine
    ADD COLUMN digest uuid,
    ADD COLUMN at timestamptz;
CREATE INDEX quarantine_after_end ON quarantine (subscription, at)
    WHERE settled_at IS NULL AND reason = 'after_end';
CREATE INDEX quarantine_applied_before ON quarantine (subscription)
    WHERE settled_at IS NULL AND digest IS NOT NULL;

-- Until when usage of the subscription may count, by what is known.
ALTER TABLE subscription ADD COLUMN counts_until timestamptz;

-- Subscriptions of which something changed that decides where usage counts; a task moves what was placed before.
-- since: nothing earlier is placed differently. lost: some that counted no longer does. terms: terms begin elsewhere;
-- windows: so that what counted may be in another window.
-- looks_from: the transaction that moved it; once all that began before have ended, it is done.
CREATE TABLE move_due (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription integer NOT NULL,
    since timestamptz NOT NULL,
    lost boolean NOT NULL,
    terms boolean NOT NULL,
    windows boolean NOT NULL,
    look_at timestamptz NOT NULL,
    looks_from bigint
);
CREATE INDEX move_due_look_at ON move_due (look_at);

-- Snapshots that could not be made wait alone, until then.
ALTER TABLE snapshot_due ADD COLUMN not_before timestamptz;

-- Nothing is below zero. What was, by the fault that this mends, is found by check and mended by recompute.
WITH mended AS (
    UPDATE meter_window SET aggregate = 0, revision = revision + 1 WHERE aggregate < 0
    RETURNING subscription, meter, window_start
)

INSERT INTO snapshot_due (subscriptions, meters, windows)
SELECT
    array_agg(subscription),
    array_agg(meter),
    array_agg(window_start)
FROM mended
HAVING count(*) > 0;
ALTER TABLE meter_window ADD CONSTRAINT meter_window_not_below_zero CHECK (aggregate >= 0) NOT VALID;
