-- Erasures of people, carried out or not. They name people by id only.
CREATE TABLE erasures (
    person text PRIMARY KEY,
    account text REFERENCES accounts (id),
    requested_by text NOT NULL,
    reason text NOT NULL,
    requested_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    erased_at timestamptz,
    version integer NOT NULL CHECK (version > 0)
);
CREATE INDEX erasures_due ON erasures (due_at) WHERE erased_at IS NULL;

-- When somebody will be erased: until then they keep what they have, and get nothing more.
ALTER TABLE people ADD COLUMN erase_at timestamptz;
