-- Who is signed in to the page. Only a hash of the session's id is kept, so that a copy of this table opens nothing.
CREATE TABLE sessions (
    id_sha256 bytea PRIMARY KEY CHECK (octet_length(id_sha256) = 32),
    email text NOT NULL,
    name text NOT NULL,
    vendor boolean NOT NULL,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX sessions_expires_at ON sessions (expires_at);
