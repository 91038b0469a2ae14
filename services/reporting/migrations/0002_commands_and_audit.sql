-- What is nowhere else: a rebuild never touches these.

-- Commands that were sent for people. digest: what was asked; sealed_secret: a key shown in the answer, for its repeat.
CREATE TABLE commands (
    actor text NOT NULL,
    command_id uuid NOT NULL,
    command text NOT NULL,
    subscription text,
    digest bytea NOT NULL,
    correlation_id text,
    sent_at timestamptz NOT NULL,
    sealed_secret text,
    PRIMARY KEY (actor, command_id)
);

-- The audit log: only ever added to. Each event once, in the order of arrival.
CREATE TABLE audit_log (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id text NOT NULL UNIQUE,
    source text NOT NULL,
    at timestamptz NOT NULL,
    account text NOT NULL,
    subscription text,
    actor text NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL,
    record jsonb NOT NULL
);
CREATE INDEX audit_of_subscription ON audit_log (subscription, sequence);
CREATE INDEX audit_of_actor ON audit_log (actor, sequence);
