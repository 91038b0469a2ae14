-- Read models of metering.events: what is in quarantine, replays of it, and the books. state: JSON text, as it came (what
-- a record holds may not fit into jsonb).

CREATE TABLE quarantine (
    id bigint PRIMARY KEY,
    received_at timestamptz NOT NULL,
    reason text NOT NULL,
    source text NOT NULL,
    product text NOT NULL,
    subscription text,
    settled_at timestamptz,
    settled_as text,
    version bigint NOT NULL,
    state text NOT NULL
);
CREATE INDEX quarantine_of_product ON quarantine (product, id);
CREATE INDEX quarantine_by_arrival ON quarantine (received_at);
CREATE INDEX quarantine_waiting ON quarantine (id) WHERE settled_at IS NULL;

CREATE TABLE quarantine_replays (
    id text PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    version bigint NOT NULL,
    state text NOT NULL
);
CREATE INDEX quarantine_replays_by_time ON quarantine_replays (requested_at, id);

CREATE TABLE usage_books (
    day date NOT NULL,
    source text COLLATE "C" NOT NULL,
    product text COLLATE "C" NOT NULL,
    accepted bigint NOT NULL,
    applied bigint NOT NULL,
    duplicate bigint NOT NULL,
    quarantined bigint NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (day, product, source)
);
