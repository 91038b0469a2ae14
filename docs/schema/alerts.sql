-- The database of alerts: what the runtime's migrations and its own make of an empty one.
-- Written by `make schema`, for reading. Rights are not in it (docs/runtime.md).

CREATE TABLE alerts (
    id text NOT NULL,
    subscription text NOT NULL,
    state text NOT NULL,
    version integer NOT NULL,
    raised_at timestamp with time zone NOT NULL,
    body jsonb NOT NULL,
    CONSTRAINT alerts_state_check CHECK ((state = ANY (ARRAY['active'::text, 'acknowledged'::text, 'resolved'::text])))
);

ALTER TABLE ONLY alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY alerts
    ADD CONSTRAINT alerts_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id);

CREATE INDEX alerts_open ON alerts USING btree (subscription) WHERE (state <> 'resolved'::text);

CREATE TABLE channels (
    id text NOT NULL,
    subscription text NOT NULL,
    kind text NOT NULL,
    url text NOT NULL,
    sealed_secret text NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    removed_at timestamp with time zone,
    version integer NOT NULL,
    account text DEFAULT ''::text NOT NULL,
    sealed_url text
);

ALTER TABLE ONLY channels
    ADD CONSTRAINT channels_pkey PRIMARY KEY (id);

ALTER TABLE ONLY channels
    ADD CONSTRAINT channels_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id);

CREATE INDEX channels_in_use ON channels USING btree (subscription) WHERE (removed_at IS NULL);

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

CREATE TABLE deliveries (
    id text NOT NULL,
    alert text NOT NULL,
    channel text NOT NULL,
    state text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    lease text,
    last_error text,
    settled_at timestamp with time zone,
    CONSTRAINT deliveries_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'delivered'::text, 'dead'::text])))
);

ALTER TABLE ONLY deliveries
    ADD CONSTRAINT deliveries_alert_channel_key UNIQUE (alert, channel);

ALTER TABLE ONLY deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY deliveries
    ADD CONSTRAINT deliveries_alert_fkey FOREIGN KEY (alert) REFERENCES alerts(id);

ALTER TABLE ONLY deliveries
    ADD CONSTRAINT deliveries_channel_fkey FOREIGN KEY (channel) REFERENCES channels(id);

CREATE INDEX deliveries_due ON deliveries USING btree (due_at) WHERE (state = 'pending'::text);

CREATE INDEX deliveries_in_flight ON deliveries USING btree (channel) WHERE ((state = 'pending'::text) AND (lease IS NOT NULL));

CREATE INDEX deliveries_of_channel ON deliveries USING btree (channel, due_at) WHERE (state = 'pending'::text);

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

CREATE TABLE levels (
    subscription text NOT NULL,
    rule text NOT NULL,
    product text NOT NULL,
    part bigint NOT NULL,
    whole bigint NOT NULL,
    passed integer NOT NULL,
    raised integer NOT NULL,
    previous_part bigint NOT NULL,
    previous_whole bigint NOT NULL,
    changed_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY levels
    ADD CONSTRAINT levels_pkey PRIMARY KEY (subscription, rule, product);

ALTER TABLE ONLY levels
    ADD CONSTRAINT levels_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id);

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

CREATE TABLE products (
    id text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL
);

ALTER TABLE ONLY products
    ADD CONSTRAINT products_pkey PRIMARY KEY (id);

CREATE TABLE rebuilds (
    topic text NOT NULL,
    partition integer NOT NULL,
    until_offset bigint NOT NULL,
    is_emptied boolean DEFAULT false NOT NULL,
    announced_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY rebuilds
    ADD CONSTRAINT rebuilds_pkey PRIMARY KEY (topic, partition);

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

CREATE TABLE states (
    subscription text NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY states
    ADD CONSTRAINT states_pkey PRIMARY KEY (subscription);

ALTER TABLE ONLY states
    ADD CONSTRAINT states_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id);

CREATE TABLE subscriptions (
    id text NOT NULL,
    window_start timestamp with time zone,
    next_check_at timestamp with time zone,
    readings json DEFAULT '[]'::json NOT NULL,
    leeway json
)
WITH (fillfactor='50');

ALTER TABLE ONLY subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (id);

CREATE INDEX subscriptions_due ON subscriptions USING btree (next_check_at) WHERE (next_check_at IS NOT NULL);
