-- Terms that follow each other, what changes with the time alone, and what consumption does to a subscription.

-- In order of their start. Where rates are locked, those in force then hold until the term's end.
CREATE TABLE terms (
    subscription text NOT NULL REFERENCES subscriptions (id),
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    rates_locked_at timestamptz,
    PRIMARY KEY (subscription, starts_at),
    CHECK (starts_at < ends_at)
);
INSERT INTO terms (subscription, starts_at, ends_at) SELECT id, term_start, term_end FROM subscriptions;

-- squawk-ignore ban-drop-column
ALTER TABLE subscriptions DROP COLUMN term_start, DROP COLUMN term_end;

-- settled_at: what changes with the time alone has been told up to then. exhausted: the pool is consumed.
ALTER TABLE subscriptions
ADD COLUMN settled_at timestamptz NOT NULL DEFAULT now(),
ADD COLUMN exhausted boolean NOT NULL DEFAULT false;

ALTER TABLE lots ADD COLUMN void_reason text;

-- over_since: since when it consumes more than 110% of what it was given. ended_at: no longer used.
ALTER TABLE allocations ADD COLUMN over_since timestamptz, ADD COLUMN ended_at timestamptz;
CREATE INDEX allocations_product ON allocations (product) WHERE ended_at IS NULL;

-- When to look at a subscription next, because something changes by itself then (NULL: nothing does). marks counts who
-- else asked for a look (new consumption, a retired product): whoever has looked moves due_at on only if none has asked
-- since.
CREATE TABLE due_work (
    subscription text PRIMARY KEY REFERENCES subscriptions (id),
    due_at timestamptz,
    marks bigint NOT NULL DEFAULT 0
);
CREATE INDEX due_work_due_at ON due_work (due_at) WHERE due_at IS NOT NULL;
INSERT INTO due_work (subscription, due_at) SELECT id, now() FROM subscriptions;
