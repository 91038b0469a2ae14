-- Reversals and purges. A batch only records them; a task applies them, a moment later, in transactions of its own.

ALTER TABLE usage ADD COLUMN reversed_at timestamptz;
-- Sightings later than a purge, usage of one window: small, since rows come nearly in the order of their time.
CREATE INDEX usage_at ON usage USING brin (at) WITH (autosummarize = on);

-- A correction's identity is in usage, with meter 0, as that of any event; what it says, and became, is here. Whole,
-- because what a reversal meets may show that it belongs into quarantine. kind: 5 reversal, 6 purge.
-- look_at: when to look at it (again); null: done. meter, window_start, resource: what it changes, once known.
CREATE TABLE correction (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    kafka_offset bigint NOT NULL,
    look_at timestamptz,
    looks_from bigint,
    settled_at timestamptz,
    reversed_at timestamptz,
    window_start timestamptz,
    target_at timestamptz,
    digest uuid NOT NULL,
    target uuid,
    target_name text,
    subscription integer NOT NULL,
    meter integer,
    kafka_partition integer NOT NULL,
    kind integer NOT NULL CHECK (kind IN (5, 6)),
    settled_as text,
    topic text NOT NULL,
    source text NOT NULL,
    product text NOT NULL,
    event_id text NOT NULL,
    resource text COLLATE "C",
    reason text,
    key bytea,
    value bytea,
    headers text NOT NULL
);
CREATE INDEX correction_due ON correction (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX correction_digest ON correction (digest);
CREATE INDEX correction_waiting ON correction (target) WHERE kind = 5 AND settled_at IS NULL;
CREATE INDEX correction_purge ON correction (subscription, meter, resource, window_start, at)
    WHERE kind = 6 AND reversed_at IS NULL;
CREATE INDEX correction_at ON correction (at);

-- Reversals whose target has just arrived: written by the batch that brought it.
CREATE TABLE correction_woken (correction bigint NOT NULL);

-- What a final window measured just before it was changed; gone when the restatement is written.
CREATE TABLE restating (
    window_start timestamptz NOT NULL,
    noted_at timestamptz NOT NULL,
    as_of timestamptz NOT NULL,
    reached_at timestamptz,
    revision bigint NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    aggregate numeric NOT NULL,
    cause text NOT NULL,
    PRIMARY KEY (subscription, meter, window_start)
);
CREATE INDEX restating_noted_at ON restating (noted_at);

-- Final windows that have other figures since, with both, as in the event that told of it.
CREATE TABLE restatement (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    restated_at timestamptz NOT NULL,
    window_start timestamptz NOT NULL,
    revision bigint NOT NULL,
    subscription integer NOT NULL,
    product text NOT NULL,
    cause text NOT NULL,
    consumed_before bigint,
    consumed_after bigint NOT NULL,
    figures_before text,
    figures_after text NOT NULL
);
CREATE INDEX restatement_window ON restatement (subscription, product, window_start);
CREATE INDEX restatement_restated_at ON restatement (restated_at);
