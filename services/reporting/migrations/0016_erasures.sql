-- Erasures of people, as allocation published them.
CREATE TABLE erasures (
    person text PRIMARY KEY,
    version integer NOT NULL,
    state jsonb NOT NULL
);

-- People who act without belonging to an account have none.
-- squawk-ignore ban-drop-not-null
ALTER TABLE people ALTER COLUMN account DROP NOT NULL;

-- Which services have confirmed an erasure.
CREATE INDEX audit_log_erasures ON audit_log ((record ->> 'object')) WHERE action = 'confirm-erasure';
