-- Exports of reports: each row is a job of the worker. People are named by id; an address among the parameters is sealed.
-- A claim gives the job a lease, a token without which no worker can change it; "position" is where its rows go on after
-- the last part. "covers": the only account that its rows can be of; null if they may be of several. "served_at": when a worker last took it, so that people take turns. "is_clean": no file of it is stored
-- but the one that can be downloaded.
CREATE TABLE exports (
    id text PRIMARY KEY,
    requested_by text NOT NULL,
    account text NOT NULL,
    covers text,
    is_vendor boolean NOT NULL,
    report text NOT NULL,
    format text NOT NULL,
    parameters jsonb NOT NULL,
    digest bytea NOT NULL,
    as_of timestamptz NOT NULL,
    names_people boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
    requested_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    expires_at timestamptz,
    served_at timestamptz,
    retry_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    failure text,
    lease uuid,
    leased_by text,
    leased_until timestamptz,
    position text,
    all_read boolean NOT NULL DEFAULT false,
    rows_done bigint NOT NULL DEFAULT 0,
    rows_expected bigint,
    file_key text,
    file_bytes bigint,
    file_sha256 text,
    is_clean boolean NOT NULL DEFAULT true
);
CREATE INDEX exports_of_person ON exports (requested_by, requested_at DESC);
CREATE INDEX exports_of_account ON exports (account, state);
CREATE INDEX exports_unfinished ON exports (retry_at) WHERE state IN ('queued', 'running');
CREATE INDEX exports_served ON exports (requested_by, served_at);
CREATE INDEX exports_expiring ON exports (expires_at) WHERE state = 'succeeded';
CREATE INDEX exports_to_clean ON exports (retry_at) WHERE NOT is_clean AND state NOT IN ('queued', 'running');
CREATE INDEX exports_requested_at ON exports (requested_at);

-- The parts of an export that are stored whole, in order.
CREATE TABLE export_parts (
    export text NOT NULL REFERENCES exports (id) ON DELETE CASCADE,
    number integer NOT NULL,
    key text NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (export, number)
);
