-- Work that fails for one key only (a subscription, a row): it waits here, so that no other key's work has to.
-- work: which consumer or task. whose: the key that fails; key: what exactly of it, one row each. retry_at: when it is
-- tried again. The record columns hold the newest record of what a consumer set aside; a task finds its rows itself.
CREATE TABLE set_aside_work (
    work text NOT NULL,
    key text NOT NULL,
    whose text NOT NULL,
    failures integer NOT NULL,
    error text NOT NULL,
    since timestamptz NOT NULL,
    retry_at timestamptz NOT NULL,
    partition integer,
    record_offset bigint,
    record_key bytea,
    value bytea,
    headers text,
    appended_at timestamptz,
    PRIMARY KEY (work, key)
);
CREATE INDEX set_aside_work_whose ON set_aside_work (work, whose);
