-- The catalogue's names, from allocation.events.
CREATE TABLE products (
    id text PRIMARY KEY,
    name text NOT NULL,
    version integer NOT NULL
);

-- One row per subscription under watch: its row lock serialises all that changes its alerts.
-- state is the SubscriptionState of allocation.events, null until the first arrived. window_start is that of the window
-- last assessed; next_check_at is when time alone changes what must be assessed (a window ends, a lot begins or ends).
CREATE TABLE subscriptions (
    id text PRIMARY KEY,
    state jsonb,
    window_start timestamptz,
    next_check_at timestamptz
);
CREATE INDEX subscriptions_due ON subscriptions (next_check_at) WHERE next_check_at IS NOT NULL;

-- The newest consumption per product: of the current window, and of the last one before it.
CREATE TABLE consumption (
    subscription text NOT NULL REFERENCES subscriptions (id),
    product text NOT NULL,
    window_start timestamptz NOT NULL,
    revision bigint NOT NULL,
    consumed bigint NOT NULL,
    burned_down bigint NOT NULL,
    PRIMARY KEY (subscription, product, window_start)
);

-- Where each watched share stands, and which of its thresholds are passed. product is '' for the pool.
CREATE TABLE levels (
    subscription text NOT NULL REFERENCES subscriptions (id),
    rule text NOT NULL,
    product text NOT NULL,
    part bigint NOT NULL,
    whole bigint NOT NULL,
    passed integer NOT NULL,
    raised integer NOT NULL,
    previous_part bigint NOT NULL,
    previous_whole bigint NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (subscription, rule, product)
);

-- Every alert; body is its AlertState. The id follows from what crossed and how often, so an alert cannot exist twice.
CREATE TABLE alerts (
    id text PRIMARY KEY,
    subscription text NOT NULL REFERENCES subscriptions (id),
    state text NOT NULL CHECK (state IN ('active', 'acknowledged', 'resolved')),
    version integer NOT NULL,
    raised_at timestamptz NOT NULL,
    body jsonb NOT NULL
);
CREATE INDEX alerts_open ON alerts (subscription) WHERE state <> 'resolved';

-- Where a subscription's alerts go. The signing secret stays sealed.
CREATE TABLE channels (
    id text PRIMARY KEY,
    subscription text NOT NULL REFERENCES subscriptions (id),
    kind text NOT NULL,
    url text NOT NULL,
    sealed_secret text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    removed_at timestamptz,
    version integer NOT NULL
);
CREATE INDEX channels_in_use ON channels (subscription) WHERE removed_at IS NULL;

-- One row per alert and channel. A worker that takes one moves due_at ahead (its lease), so that nobody else takes it
-- and that it comes back when the worker dies.
CREATE TABLE deliveries (
    id text PRIMARY KEY,
    alert text NOT NULL REFERENCES alerts (id),
    channel text NOT NULL REFERENCES channels (id),
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    lease text,
    last_error text,
    settled_at timestamptz,
    UNIQUE (alert, channel)
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'pending';
