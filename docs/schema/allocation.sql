-- The database of allocation: what the runtime's migrations and its own make of an empty one.
-- Written by `make schema`, for reading. Rights are not in it (docs/runtime.md).

CREATE TABLE accounts (
    id text NOT NULL,
    name text NOT NULL,
    flex_enabled boolean NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT accounts_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);

CREATE TABLE allocations (
    subscription text NOT NULL,
    product text NOT NULL,
    place integer NOT NULL,
    units bigint NOT NULL,
    policy text NOT NULL,
    restricted boolean NOT NULL,
    subscribed_at timestamp with time zone NOT NULL,
    last_lowered_at timestamp with time zone,
    over_since timestamp with time zone,
    ended_at timestamp with time zone,
    earlier text DEFAULT '[]'::text NOT NULL,
    CONSTRAINT allocations_policy_check CHECK ((policy = ANY (ARRAY['soft'::text, 'reserve'::text, 'hard'::text]))),
    CONSTRAINT allocations_units_check CHECK ((units >= 0))
);

ALTER TABLE ONLY allocations
    ADD CONSTRAINT allocations_pkey PRIMARY KEY (subscription, product);

ALTER TABLE ONLY allocations
    ADD CONSTRAINT allocations_product_fkey FOREIGN KEY (product) REFERENCES products(id);

ALTER TABLE ONLY allocations
    ADD CONSTRAINT allocations_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id);

CREATE INDEX allocations_product ON allocations USING btree (product) WHERE (ended_at IS NULL);

CREATE TABLE consumer_offsets (
    reader text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    topic_id uuid
);

ALTER TABLE ONLY consumer_offsets
    ADD CONSTRAINT consumer_offsets_pkey PRIMARY KEY (reader, topic, partition);

CREATE TABLE consumption (
    subscription text NOT NULL,
    product text NOT NULL,
    window_start timestamp with time zone NOT NULL,
    window_end timestamp with time zone NOT NULL,
    revision bigint NOT NULL,
    level bigint NOT NULL,
    burned_down bigint NOT NULL,
    CONSTRAINT consumption_burned_down_check CHECK ((burned_down >= 0)),
    CONSTRAINT consumption_level_check CHECK ((level >= 0))
);

ALTER TABLE ONLY consumption
    ADD CONSTRAINT consumption_pkey PRIMARY KEY (subscription, product, window_start);

CREATE INDEX consumption_window_end ON consumption USING btree (window_end);

CREATE TABLE due_work (
    subscription text NOT NULL,
    due_at timestamp with time zone,
    marks bigint DEFAULT 0 NOT NULL
);

ALTER TABLE ONLY due_work
    ADD CONSTRAINT due_work_pkey PRIMARY KEY (subscription);

ALTER TABLE ONLY due_work
    ADD CONSTRAINT due_work_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id);

CREATE INDEX due_work_due_at ON due_work USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE TABLE erasures (
    person text NOT NULL,
    account text,
    requested_by text NOT NULL,
    reason text NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    erased_at timestamp with time zone,
    version integer NOT NULL,
    CONSTRAINT erasures_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (person);

ALTER TABLE ONLY erasures
    ADD CONSTRAINT erasures_account_fkey FOREIGN KEY (account) REFERENCES accounts(id);

CREATE INDEX erasures_due ON erasures USING btree (due_at) WHERE (erased_at IS NULL);

CREATE TABLE grants (
    subscription text NOT NULL,
    role text NOT NULL,
    person text NOT NULL,
    CONSTRAINT grants_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'allocator'::text, 'auditor'::text, 'useradmin'::text])))
);

ALTER TABLE ONLY grants
    ADD CONSTRAINT grants_pkey PRIMARY KEY (subscription, person, role);

ALTER TABLE ONLY grants
    ADD CONSTRAINT grants_person_fkey FOREIGN KEY (person) REFERENCES people(id);

ALTER TABLE ONLY grants
    ADD CONSTRAINT grants_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id);

CREATE INDEX grants_person ON grants USING btree (person);

CREATE TABLE inbox (
    actor text NOT NULL,
    command_id uuid NOT NULL,
    command text NOT NULL,
    digest bytea NOT NULL,
    outcome text NOT NULL,
    decided_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY inbox
    ADD CONSTRAINT inbox_pkey PRIMARY KEY (actor, command_id);

CREATE TABLE lost_records (
    id bigint NOT NULL,
    reader text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    reason text NOT NULL,
    noticed_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY lost_records
    ADD CONSTRAINT lost_records_pkey PRIMARY KEY (id);

CREATE INDEX lost_records_topic ON lost_records USING btree (reader, topic);

ALTER TABLE lost_records ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME lost_records_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE lots (
    subscription text NOT NULL,
    id text NOT NULL,
    place integer NOT NULL,
    units bigint NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    order_reference text NOT NULL,
    purchased_at timestamp with time zone NOT NULL,
    voided_at timestamp with time zone,
    void_reason text,
    price jsonb,
    CONSTRAINT lots_check CHECK ((starts_at < ends_at)),
    CONSTRAINT lots_units_check CHECK ((units > 0))
);

ALTER TABLE ONLY lots
    ADD CONSTRAINT lots_pkey PRIMARY KEY (subscription, id);

ALTER TABLE ONLY lots
    ADD CONSTRAINT lots_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id);

CREATE TABLE meters (
    product text NOT NULL,
    id text NOT NULL,
    place integer NOT NULL,
    name text NOT NULL,
    aggregation text NOT NULL,
    reset text NOT NULL,
    CONSTRAINT meters_aggregation_check CHECK ((aggregation = ANY (ARRAY['sum'::text, 'count'::text, 'peak'::text, 'unique'::text, 'latest'::text]))),
    CONSTRAINT meters_reset_check CHECK ((reset = ANY (ARRAY['window'::text, 'term'::text])))
);

ALTER TABLE ONLY meters
    ADD CONSTRAINT meters_pkey PRIMARY KEY (product, id);

ALTER TABLE ONLY meters
    ADD CONSTRAINT meters_product_fkey FOREIGN KEY (product) REFERENCES products(id);

CREATE TABLE outbox (
    id bigint NOT NULL,
    topic text NOT NULL,
    key bytea,
    value bytea,
    headers text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE ONLY outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);

ALTER TABLE outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE outbox_set_aside (
    id bigint NOT NULL,
    topic text NOT NULL,
    key bytea,
    row_id bigint,
    error text NOT NULL,
    failures integer DEFAULT 1 NOT NULL,
    since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    retry_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY outbox_set_aside
    ADD CONSTRAINT outbox_set_aside_pkey PRIMARY KEY (id);

ALTER TABLE outbox_set_aside ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME outbox_set_aside_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE people (
    account text,
    email text NOT NULL,
    name text NOT NULL,
    enabled boolean NOT NULL,
    removed_at timestamp with time zone,
    version bigint NOT NULL,
    id text NOT NULL,
    text_key text NOT NULL,
    erase_at timestamp with time zone,
    CONSTRAINT people_version_check CHECK ((version >= 0))
);

ALTER TABLE ONLY people
    ADD CONSTRAINT people_account_email UNIQUE NULLS NOT DISTINCT (account, email);

ALTER TABLE ONLY people
    ADD CONSTRAINT people_pkey PRIMARY KEY (id);

ALTER TABLE ONLY people
    ADD CONSTRAINT people_account_fkey FOREIGN KEY (account) REFERENCES accounts(id);

CREATE INDEX people_untold ON people USING btree (account, email) WHERE (version = 0);

CREATE TABLE permissions (
    product text NOT NULL,
    id text NOT NULL,
    place integer NOT NULL,
    category text NOT NULL,
    description text NOT NULL
);

ALTER TABLE ONLY permissions
    ADD CONSTRAINT permissions_pkey PRIMARY KEY (product, id);

ALTER TABLE ONLY permissions
    ADD CONSTRAINT permissions_product_fkey FOREIGN KEY (product) REFERENCES products(id);

CREATE TABLE plan_changes (
    subscription text NOT NULL,
    version bigint NOT NULL,
    product text NOT NULL,
    units_before bigint NOT NULL,
    units_after bigint NOT NULL,
    CONSTRAINT plan_changes_units_after_check CHECK ((units_after >= 0)),
    CONSTRAINT plan_changes_units_before_check CHECK ((units_before >= 0))
);

ALTER TABLE ONLY plan_changes
    ADD CONSTRAINT plan_changes_pkey PRIMARY KEY (subscription, version, product);

ALTER TABLE ONLY plan_changes
    ADD CONSTRAINT plan_changes_subscription_version_fkey FOREIGN KEY (subscription, version) REFERENCES plans(subscription, version);

CREATE TABLE plans (
    subscription text NOT NULL,
    version bigint NOT NULL,
    applied_at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    command_id uuid NOT NULL,
    kind text NOT NULL,
    starts_clock boolean NOT NULL,
    accept_overage boolean NOT NULL,
    override_reason text,
    CONSTRAINT plans_kind_check CHECK ((kind = ANY (ARRAY['allocation'::text, 'rebalance'::text])))
);

ALTER TABLE ONLY plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (subscription, version);

ALTER TABLE ONLY plans
    ADD CONSTRAINT plans_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id);

CREATE TABLE postponed_commands (
    id bigint NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    key bytea,
    value bytea NOT NULL,
    headers text NOT NULL,
    appended_at timestamp with time zone NOT NULL,
    give_up_at timestamp with time zone
);

ALTER TABLE ONLY postponed_commands
    ADD CONSTRAINT postponed_commands_pkey PRIMARY KEY (id);

CREATE INDEX postponed_commands_key ON postponed_commands USING btree (topic, key, id);

ALTER TABLE postponed_commands ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME postponed_commands_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE price_lists (
    version integer NOT NULL,
    currency text NOT NULL,
    list_price_minor bigint NOT NULL,
    tier_from_units bigint[] NOT NULL,
    tier_discounts integer[] NOT NULL,
    set_at timestamp with time zone NOT NULL,
    CONSTRAINT price_lists_check CHECK ((cardinality(tier_from_units) = cardinality(tier_discounts))),
    CONSTRAINT price_lists_list_price_minor_check CHECK ((list_price_minor >= 0)),
    CONSTRAINT price_lists_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY price_lists
    ADD CONSTRAINT price_lists_pkey PRIMARY KEY (version);

CREATE TABLE products (
    id text NOT NULL,
    name text NOT NULL,
    sources text[] NOT NULL,
    retired_at timestamp with time zone,
    version bigint NOT NULL,
    roles_version integer DEFAULT 0 NOT NULL,
    CONSTRAINT products_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY products
    ADD CONSTRAINT products_pkey PRIMARY KEY (id);

CREATE TABLE rates (
    product text NOT NULL,
    meter text NOT NULL,
    version integer NOT NULL,
    units bigint NOT NULL,
    block bigint NOT NULL,
    effective_from timestamp with time zone NOT NULL,
    CONSTRAINT rates_block_check CHECK ((block > 0)),
    CONSTRAINT rates_units_check CHECK ((units > 0)),
    CONSTRAINT rates_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY rates
    ADD CONSTRAINT rates_pkey PRIMARY KEY (product, meter, version);

ALTER TABLE ONLY rates
    ADD CONSTRAINT rates_product_meter_effective_from_key UNIQUE (product, meter, effective_from);

ALTER TABLE ONLY rates
    ADD CONSTRAINT rates_product_meter_fkey FOREIGN KEY (product, meter) REFERENCES meters(product, id);

CREATE TABLE rebuilds (
    topic text NOT NULL,
    partition integer NOT NULL,
    until_offset bigint NOT NULL,
    is_emptied boolean DEFAULT false NOT NULL,
    announced_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY rebuilds
    ADD CONSTRAINT rebuilds_pkey PRIMARY KEY (topic, partition);

CREATE TABLE role_members (
    account text NOT NULL,
    role text NOT NULL,
    person text NOT NULL
);

ALTER TABLE ONLY role_members
    ADD CONSTRAINT role_members_pkey PRIMARY KEY (account, role, person);

ALTER TABLE ONLY role_members
    ADD CONSTRAINT role_members_account_role_fkey FOREIGN KEY (account, role) REFERENCES roles(account, id);

ALTER TABLE ONLY role_members
    ADD CONSTRAINT role_members_person_fkey FOREIGN KEY (person) REFERENCES people(id);

CREATE INDEX role_members_person ON role_members USING btree (person);

CREATE TABLE role_templates (
    role text NOT NULL,
    product text NOT NULL,
    place integer NOT NULL,
    name text NOT NULL,
    summary text NOT NULL,
    permissions text[] NOT NULL
);

ALTER TABLE ONLY role_templates
    ADD CONSTRAINT role_templates_pkey PRIMARY KEY (role);

ALTER TABLE ONLY role_templates
    ADD CONSTRAINT role_templates_product_fkey FOREIGN KEY (product) REFERENCES products(id);

CREATE INDEX role_templates_product ON role_templates USING btree (product);

CREATE TABLE roles (
    account text NOT NULL,
    id text NOT NULL,
    product text NOT NULL,
    name text NOT NULL,
    is_default boolean NOT NULL,
    customised text[],
    based_on integer,
    version bigint NOT NULL,
    CONSTRAINT roles_check CHECK ((is_default OR (customised IS NOT NULL))),
    CONSTRAINT roles_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY roles
    ADD CONSTRAINT roles_pkey PRIMARY KEY (account, id);

ALTER TABLE ONLY roles
    ADD CONSTRAINT roles_account_fkey FOREIGN KEY (account) REFERENCES accounts(id);

ALTER TABLE ONLY roles
    ADD CONSTRAINT roles_product_fkey FOREIGN KEY (product) REFERENCES products(id);

CREATE INDEX roles_id ON roles USING btree (id);

CREATE TABLE schema_migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

CREATE TABLE set_aside_keys (
    reader text NOT NULL,
    topic text NOT NULL,
    key bytea NOT NULL,
    error text NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY set_aside_keys
    ADD CONSTRAINT set_aside_keys_pkey PRIMARY KEY (reader, topic, key);

CREATE INDEX set_aside_keys_due ON set_aside_keys USING btree (reader, topic, next_attempt_at);

CREATE TABLE set_aside_records (
    id bigint NOT NULL,
    reader text NOT NULL,
    topic text NOT NULL,
    lane bytea NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    key bytea,
    value bytea,
    headers text NOT NULL,
    appended_at timestamp with time zone NOT NULL
);

COMMENT ON COLUMN set_aside_records.lane IS 'The key of set_aside_keys: the record''s own, or one made up where it has none';

ALTER TABLE ONLY set_aside_records
    ADD CONSTRAINT set_aside_records_pkey PRIMARY KEY (id);

CREATE INDEX set_aside_records_lane ON set_aside_records USING btree (reader, topic, lane, id);

ALTER TABLE set_aside_records ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME set_aside_records_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE set_aside_work (
    work text NOT NULL,
    key text NOT NULL,
    whose text NOT NULL,
    failures integer NOT NULL,
    error text NOT NULL,
    since timestamp with time zone NOT NULL,
    retry_at timestamp with time zone NOT NULL,
    partition integer,
    record_offset bigint,
    record_key bytea,
    value bytea,
    headers text,
    appended_at timestamp with time zone
);

ALTER TABLE ONLY set_aside_work
    ADD CONSTRAINT set_aside_work_pkey PRIMARY KEY (work, key);

CREATE INDEX set_aside_work_whose ON set_aside_work USING btree (work, whose);

CREATE TABLE subscriptions (
    id text NOT NULL,
    account text NOT NULL,
    name text NOT NULL,
    model text NOT NULL,
    unit_label text NOT NULL,
    window_days integer NOT NULL,
    rebalance_every_days integer NOT NULL,
    rebalance_scope text NOT NULL,
    rebalanced_at timestamp with time zone,
    cancelled_at timestamp with time zone,
    version bigint NOT NULL,
    settled_at timestamp with time zone DEFAULT now() NOT NULL,
    exhausted boolean DEFAULT false NOT NULL,
    primary_contact text NOT NULL,
    CONSTRAINT subscriptions_model_check CHECK ((model = ANY (ARRAY['flex'::text, 'per_product'::text]))),
    CONSTRAINT subscriptions_rebalance_every_days_check CHECK ((rebalance_every_days >= 0)),
    CONSTRAINT subscriptions_rebalance_scope_check CHECK ((rebalance_scope = ANY (ARRAY['subscription'::text, 'product'::text]))),
    CONSTRAINT subscriptions_version_check CHECK ((version > 0)),
    CONSTRAINT subscriptions_window_days_check CHECK ((window_days > 0))
);

ALTER TABLE ONLY subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY subscriptions
    ADD CONSTRAINT subscriptions_account_fkey FOREIGN KEY (account) REFERENCES accounts(id);

ALTER TABLE ONLY subscriptions
    ADD CONSTRAINT subscriptions_primary_contact_fkey FOREIGN KEY (primary_contact) REFERENCES people(id);

CREATE INDEX subscriptions_account ON subscriptions USING btree (account);

CREATE INDEX subscriptions_primary_contact ON subscriptions USING btree (primary_contact);

CREATE TABLE terms (
    subscription text NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    rates_locked_at timestamp with time zone,
    CONSTRAINT terms_check CHECK ((starts_at < ends_at))
);

ALTER TABLE ONLY terms
    ADD CONSTRAINT terms_pkey PRIMARY KEY (subscription, starts_at);

ALTER TABLE ONLY terms
    ADD CONSTRAINT terms_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id);
