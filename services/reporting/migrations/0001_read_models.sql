-- Read models: filled from topics, thrown away and filled again by `rebuild`. Only the newest version of a state is kept.

CREATE TABLE accounts (
    id text PRIMARY KEY,
    version bigint NOT NULL,
    state jsonb NOT NULL
);

CREATE TABLE products (
    id text PRIMARY KEY,
    version bigint NOT NULL,
    state jsonb NOT NULL
);

CREATE TABLE subscriptions (
    id text PRIMARY KEY,
    account text NOT NULL,
    version bigint NOT NULL,
    state jsonb NOT NULL
);
CREATE INDEX subscriptions_of_account ON subscriptions (account, id);

-- Whom a subscription concerns, from its state: 'primary' or a grant.
CREATE TABLE subscription_people (
    email text NOT NULL,
    subscription text NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    role text NOT NULL,
    PRIMARY KEY (email, subscription, role)
);
CREATE INDEX people_of_subscription ON subscription_people (subscription);

-- What a product consumed in a window. level: meters that start anew in every window; burned_down: the term to date.
CREATE TABLE consumption (
    subscription text NOT NULL,
    product text NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    revision bigint NOT NULL,
    consumed bigint NOT NULL,
    level bigint NOT NULL,
    burned_down bigint NOT NULL,
    as_of timestamptz NOT NULL,
    meters jsonb NOT NULL,
    PRIMARY KEY (subscription, product, window_start)
);
CREATE INDEX consumption_by_age ON consumption (window_end);

-- One row per product of every plan, by the id of the event that told of it.
CREATE TABLE allocation_changes (
    event_id text NOT NULL,
    product text NOT NULL,
    subscription text NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    before bigint NOT NULL,
    after bigint NOT NULL,
    actor text,
    reason text,
    starts_clock boolean NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (event_id, product)
);
CREATE INDEX changes_of_subscription ON allocation_changes (subscription, at, event_id, product);

CREATE TABLE alerts (
    id text PRIMARY KEY,
    subscription text NOT NULL,
    version bigint NOT NULL,
    raised_at timestamptz NOT NULL,
    lifecycle text NOT NULL,
    state jsonb NOT NULL
);
CREATE INDEX alerts_of_subscription ON alerts (subscription, raised_at, id);

CREATE TABLE channels (
    id text PRIMARY KEY,
    subscription text NOT NULL,
    version bigint NOT NULL,
    removed_at timestamptz,
    state jsonb NOT NULL
);
CREATE INDEX channels_of_subscription ON channels (subscription, id);

CREATE TABLE deliveries (
    id text PRIMARY KEY,
    alert text NOT NULL,
    subscription text NOT NULL,
    channel text NOT NULL,
    outcome text NOT NULL,
    attempts bigint NOT NULL,
    settled_at timestamptz NOT NULL,
    last_error text
);
CREATE INDEX deliveries_of_alert ON deliveries (alert);

CREATE TABLE ingest_keys (
    id text PRIMARY KEY,
    product text NOT NULL,
    version bigint NOT NULL,
    state jsonb NOT NULL
);

-- What became of commands, as their owners decided.
CREATE TABLE outcomes (
    actor text NOT NULL,
    command_id uuid NOT NULL,
    outcome jsonb NOT NULL,
    PRIMARY KEY (actor, command_id)
);
