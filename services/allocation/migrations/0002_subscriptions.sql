-- Subscriptions. The row lock on subscriptions serialises everything that changes one of them.

CREATE TABLE subscriptions (
    id text PRIMARY KEY,
    account text NOT NULL REFERENCES accounts (id),
    name text NOT NULL,
    model text NOT NULL CHECK (model IN ('flex', 'per_product')),
    unit_label text NOT NULL,
    term_start timestamptz NOT NULL,
    term_end timestamptz NOT NULL,
    window_days integer NOT NULL CHECK (window_days > 0),
    primary_email text NOT NULL,
    primary_name text NOT NULL,
    rebalance_every_days integer NOT NULL CHECK (rebalance_every_days >= 0),
    rebalance_scope text NOT NULL CHECK (rebalance_scope IN ('subscription', 'product')),
    rebalanced_at timestamptz,
    cancelled_at timestamptz,
    version bigint NOT NULL CHECK (version > 0),
    CHECK (term_start < term_end)
);
CREATE INDEX subscriptions_account ON subscriptions (account);

-- What the primary contact granted to delegates.
CREATE TABLE grants (
    subscription text NOT NULL REFERENCES subscriptions (id),
    email text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'allocator', 'auditor', 'useradmin')),
    PRIMARY KEY (subscription, email, role)
);

CREATE TABLE lots (
    subscription text NOT NULL REFERENCES subscriptions (id),
    id text NOT NULL,
    place integer NOT NULL,
    units bigint NOT NULL CHECK (units > 0),
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    order_reference text NOT NULL,
    purchased_at timestamptz NOT NULL,
    voided_at timestamptz,
    PRIMARY KEY (subscription, id),
    CHECK (starts_at < ends_at)
);

-- The products that a subscription uses, and what each was given. last_lowered_at: when a rebalance last lowered it.
CREATE TABLE allocations (
    subscription text NOT NULL REFERENCES subscriptions (id),
    product text NOT NULL REFERENCES products (id),
    place integer NOT NULL,
    units bigint NOT NULL CHECK (units >= 0),
    policy text NOT NULL CHECK (policy IN ('soft', 'reserve', 'hard')),
    restricted boolean NOT NULL,
    subscribed_at timestamptz NOT NULL,
    last_lowered_at timestamptz,
    PRIMARY KEY (subscription, product)
);

-- Every plan that was applied, for ever. version is the subscription's after it.
CREATE TABLE plans (
    subscription text NOT NULL REFERENCES subscriptions (id),
    version bigint NOT NULL,
    applied_at timestamptz NOT NULL,
    actor text NOT NULL,
    command_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('allocation', 'rebalance')),
    starts_clock boolean NOT NULL,
    accept_overage boolean NOT NULL,
    override_reason text,
    PRIMARY KEY (subscription, version)
);

CREATE TABLE plan_changes (
    subscription text NOT NULL,
    version bigint NOT NULL,
    product text NOT NULL,
    units_before bigint NOT NULL CHECK (units_before >= 0),
    units_after bigint NOT NULL CHECK (units_after >= 0),
    PRIMARY KEY (subscription, version, product),
    FOREIGN KEY (subscription, version) REFERENCES plans (subscription, version)
);
