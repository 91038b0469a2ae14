-- What metering keeps of allocation.events: the newest state of each product and subscription, whole.

-- One row. Whoever changes the projection raises its version while holding this row, so versions commit in order.
CREATE TABLE projection (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version bigint NOT NULL DEFAULT 0
);
INSERT INTO projection DEFAULT VALUES;

CREATE TABLE subscription (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    state text NOT NULL,
    version bigint NOT NULL,
    projection_version bigint NOT NULL
);
CREATE INDEX subscription_projection_version ON subscription (projection_version);

CREATE TABLE product (
    id text PRIMARY KEY,
    state text NOT NULL,
    version bigint NOT NULL,
    projection_version bigint NOT NULL
);

CREATE TABLE meter (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product text NOT NULL,
    id text NOT NULL,
    UNIQUE (product, id)
);

CREATE TABLE source (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE
);

-- Keys of the HTTP door: the SHA-256 of each, never the key.
CREATE TABLE ingest_key (
    id text PRIMARY KEY,
    product text NOT NULL,
    secret_sha256 bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    version bigint NOT NULL
);
