-- The database of reporting: what the runtime's migrations and its own make of an empty one.
-- Written by `make schema`, for reading. Rights are not in it (docs/runtime.md).

CREATE FUNCTION append_audit(event_ids text[], sources text[], records text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    new record;
    chain audit_chains;
BEGIN
    INSERT INTO audit_chains
    SELECT DISTINCT one::jsonb ->> 'account', 0, decode(repeat('00', 32), 'hex') FROM unnest(records) AS one ORDER BY 1
    ON CONFLICT (account) DO UPDATE SET account = excluded.account;

    FOR new IN SELECT event_id, source, recorded, recorded::jsonb AS record
               FROM unnest(event_ids, sources, records) WITH ORDINALITY AS batch (event_id, source, recorded, place)
               ORDER BY place
    LOOP
        SELECT * INTO STRICT chain FROM audit_chains WHERE account = new.record ->> 'account';
        INSERT INTO audit_log (
            event_id, source, at, account, subscription, actor, action, outcome, record,
            recorded, chain_sequence, previous_hash, hash
        ) VALUES (
            new.event_id, new.source, (new.record ->> 'at')::timestamptz, chain.account, new.record ->> 'subscription',
            new.record ->> 'actor', new.record ->> 'action', new.record ->> 'outcome', new.record,
            new.recorded, chain.records + 1, chain.hash,
            audit_hash(chain.hash, chain.records + 1, new.event_id, new.source, new.recorded)
        )
        ON CONFLICT (event_id) DO NOTHING
        RETURNING hash INTO chain.hash;
        IF FOUND THEN
            UPDATE audit_chains SET records = chain.records + 1, hash = chain.hash WHERE account = chain.account;
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION audit_hash(previous_hash bytea, chain_sequence bigint, event_id text, source text, recorded text) RETURNS bytea
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT sha256(
        previous_hash || int8send(chain_sequence)
        || int4send(octet_length(convert_to(event_id, 'UTF8'))) || convert_to(event_id, 'UTF8')
        || int4send(octet_length(convert_to(source, 'UTF8'))) || convert_to(source, 'UTF8')
        || int4send(octet_length(convert_to(recorded, 'UTF8'))) || convert_to(recorded, 'UTF8')
    )
$$;

CREATE TABLE accounts (
    id text NOT NULL,
    version bigint NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);

CREATE TABLE alerts (
    id text NOT NULL,
    subscription text NOT NULL,
    version bigint NOT NULL,
    raised_at timestamp with time zone NOT NULL,
    lifecycle text NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (id);

CREATE INDEX alerts_of_subscription ON alerts USING btree (subscription, raised_at, id);

CREATE TABLE allocation_changes (
    event_id text NOT NULL,
    product text NOT NULL,
    subscription text NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    before bigint NOT NULL,
    after bigint NOT NULL,
    actor text,
    reason text,
    starts_clock boolean NOT NULL,
    version bigint NOT NULL
);

ALTER TABLE ONLY allocation_changes
    ADD CONSTRAINT allocation_changes_pkey PRIMARY KEY (event_id, product);

CREATE INDEX changes_of_subscription ON allocation_changes USING btree (subscription, at, event_id, product);

CREATE TABLE audit_chains (
    account text NOT NULL,
    records bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_chains_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT audit_chains_records_check CHECK ((records >= 0))
);

ALTER TABLE ONLY audit_chains
    ADD CONSTRAINT audit_chains_pkey PRIMARY KEY (account);

CREATE TABLE audit_log (
    sequence bigint NOT NULL,
    event_id text NOT NULL,
    source text NOT NULL,
    at timestamp with time zone NOT NULL,
    account text NOT NULL,
    subscription text,
    actor text NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL,
    record jsonb NOT NULL,
    recorded text NOT NULL,
    chain_sequence bigint NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL
);

ALTER TABLE ONLY audit_log
    ADD CONSTRAINT audit_log_event_id_key UNIQUE (event_id);

ALTER TABLE ONLY audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (sequence);

CREATE INDEX audit_log_erasures ON audit_log USING btree (((record ->> 'object'::text))) WHERE (action = 'confirm-erasure'::text);

CREATE INDEX audit_of_actor ON audit_log USING btree (actor, sequence);

CREATE UNIQUE INDEX audit_of_chain ON audit_log USING btree (account, chain_sequence);

CREATE INDEX audit_of_subscription ON audit_log USING btree (subscription, sequence);

ALTER TABLE audit_log ALTER COLUMN sequence ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME audit_log_sequence_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE channels (
    id text NOT NULL,
    subscription text NOT NULL,
    version bigint NOT NULL,
    removed_at timestamp with time zone,
    state jsonb NOT NULL
);

ALTER TABLE ONLY channels
    ADD CONSTRAINT channels_pkey PRIMARY KEY (id);

CREATE INDEX channels_of_subscription ON channels USING btree (subscription, id);

CREATE TABLE commands (
    actor text NOT NULL,
    command_id uuid NOT NULL,
    command text NOT NULL,
    subscription text,
    digest bytea NOT NULL,
    correlation_id text,
    sent_at timestamp with time zone NOT NULL,
    sealed_secret text,
    secret_shown_at timestamp with time zone
);

ALTER TABLE ONLY commands
    ADD CONSTRAINT commands_pkey PRIMARY KEY (actor, command_id);

CREATE INDEX commands_with_secret ON commands USING btree (sent_at) WHERE (sealed_secret IS NOT NULL);

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
    consumed bigint NOT NULL,
    level bigint NOT NULL,
    burned_down bigint NOT NULL,
    as_of timestamp with time zone NOT NULL,
    meters jsonb NOT NULL,
    added bigint
);

ALTER TABLE ONLY consumption
    ADD CONSTRAINT consumption_pkey PRIMARY KEY (subscription, product, window_start);

CREATE INDEX consumption_by_age ON consumption USING btree (window_end);

CREATE TABLE consumption_revisions (
    subscription text NOT NULL,
    product text NOT NULL,
    window_start timestamp with time zone NOT NULL,
    known_at timestamp with time zone NOT NULL,
    window_end timestamp with time zone NOT NULL,
    retained_as text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    revision bigint NOT NULL,
    consumed bigint NOT NULL,
    level bigint NOT NULL,
    burned_down bigint NOT NULL,
    as_of timestamp with time zone NOT NULL,
    meters jsonb NOT NULL,
    CONSTRAINT consumption_revisions_retained_as_check CHECK ((retained_as = ANY (ARRAY['hour'::text, 'day'::text, 'last'::text])))
);

ALTER TABLE ONLY consumption_revisions
    ADD CONSTRAINT consumption_revisions_pkey PRIMARY KEY (subscription, product, window_start, known_at);

CREATE INDEX hourly_revisions_by_age ON consumption_revisions USING btree (known_at) WHERE (retained_as = 'hour'::text);

CREATE INDEX last_revisions_by_age ON consumption_revisions USING btree (window_end) WHERE (retained_as = 'last'::text);

CREATE INDEX revisions_by_age ON consumption_revisions USING btree (known_at) WHERE (retained_as = 'day'::text);

CREATE TABLE deliveries (
    id text NOT NULL,
    alert text NOT NULL,
    subscription text NOT NULL,
    channel text NOT NULL,
    outcome text NOT NULL,
    attempts bigint NOT NULL,
    settled_at timestamp with time zone NOT NULL,
    last_error text
);

ALTER TABLE ONLY deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);

CREATE INDEX deliveries_of_alert ON deliveries USING btree (alert);

CREATE INDEX deliveries_of_subscription ON deliveries USING btree (subscription, id);

CREATE TABLE erasures (
    person text NOT NULL,
    version integer NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (person);

CREATE TABLE export_parts (
    export text NOT NULL,
    number integer NOT NULL,
    key text NOT NULL,
    rows bigint NOT NULL
);

ALTER TABLE ONLY export_parts
    ADD CONSTRAINT export_parts_pkey PRIMARY KEY (export, number);

ALTER TABLE ONLY export_parts
    ADD CONSTRAINT export_parts_export_fkey FOREIGN KEY (export) REFERENCES exports(id) ON DELETE CASCADE;

CREATE TABLE exports (
    id text NOT NULL,
    requested_by text NOT NULL,
    account text NOT NULL,
    covers text,
    is_vendor boolean NOT NULL,
    report text NOT NULL,
    format text NOT NULL,
    parameters jsonb NOT NULL,
    digest bytea NOT NULL,
    as_of timestamp with time zone NOT NULL,
    names_people boolean NOT NULL,
    state text NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    expires_at timestamp with time zone,
    served_at timestamp with time zone,
    retry_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    failure text,
    lease uuid,
    leased_by text,
    leased_until timestamp with time zone,
    "position" text,
    all_read boolean DEFAULT false NOT NULL,
    rows_done bigint DEFAULT 0 NOT NULL,
    rows_expected bigint,
    file_key text,
    file_bytes bigint,
    file_sha256 text,
    is_clean boolean DEFAULT true NOT NULL,
    CONSTRAINT exports_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text, 'expired'::text])))
);

ALTER TABLE ONLY exports
    ADD CONSTRAINT exports_pkey PRIMARY KEY (id);

CREATE INDEX exports_expiring ON exports USING btree (expires_at) WHERE (state = 'succeeded'::text);

CREATE INDEX exports_of_account ON exports USING btree (account, state);

CREATE INDEX exports_of_person ON exports USING btree (requested_by, requested_at DESC);

CREATE INDEX exports_requested_at ON exports USING btree (requested_at);

CREATE INDEX exports_served ON exports USING btree (requested_by, served_at);

CREATE INDEX exports_to_clean ON exports USING btree (retry_at) WHERE ((NOT is_clean) AND (state <> ALL (ARRAY['queued'::text, 'running'::text])));

CREATE INDEX exports_unfinished ON exports USING btree (retry_at) WHERE (state = ANY (ARRAY['queued'::text, 'running'::text]));

CREATE TABLE forecasts (
    subscription text NOT NULL,
    window_start timestamp with time zone NOT NULL,
    version bigint NOT NULL,
    subscription_version bigint NOT NULL,
    made_at timestamp with time zone NOT NULL,
    method bigint NOT NULL,
    term_start timestamp with time zone NOT NULL,
    inputs jsonb NOT NULL,
    scopes jsonb NOT NULL,
    accuracies jsonb NOT NULL
);

ALTER TABLE ONLY forecasts
    ADD CONSTRAINT forecasts_pkey PRIMARY KEY (subscription, window_start);

CREATE INDEX forecasts_by_age ON forecasts USING btree (made_at);

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

CREATE TABLE ingest_keys (
    id text NOT NULL,
    product text NOT NULL,
    version bigint NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY ingest_keys
    ADD CONSTRAINT ingest_keys_pkey PRIMARY KEY (id);

CREATE TABLE issuer_words (
    email text NOT NULL,
    vendor boolean NOT NULL,
    said_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY issuer_words
    ADD CONSTRAINT issuer_words_pkey PRIMARY KEY (email);

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

CREATE TABLE outcomes (
    actor text NOT NULL,
    command_id uuid NOT NULL,
    outcome jsonb NOT NULL
);

ALTER TABLE ONLY outcomes
    ADD CONSTRAINT outcomes_pkey PRIMARY KEY (actor, command_id);

CREATE TABLE people (
    id text NOT NULL,
    account text,
    email text NOT NULL,
    version bigint NOT NULL,
    removed_at timestamp with time zone,
    state jsonb NOT NULL
);

ALTER TABLE ONLY people
    ADD CONSTRAINT people_pkey PRIMARY KEY (id);

CREATE INDEX people_email ON people USING btree (email);

CREATE INDEX people_of_account ON people USING btree (account, email);

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
    id text NOT NULL,
    version bigint NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY price_lists
    ADD CONSTRAINT price_lists_pkey PRIMARY KEY (id);

CREATE TABLE product_versions (
    product text NOT NULL,
    version bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY product_versions
    ADD CONSTRAINT product_versions_pkey PRIMARY KEY (product, version);

CREATE TABLE products (
    id text NOT NULL,
    version bigint NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY products
    ADD CONSTRAINT products_pkey PRIMARY KEY (id);

CREATE TABLE quarantine (
    id bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    source text NOT NULL,
    product text NOT NULL,
    subscription text,
    settled_at timestamp with time zone,
    settled_as text,
    version bigint NOT NULL,
    state text NOT NULL
);

ALTER TABLE ONLY quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (id);

CREATE INDEX quarantine_by_arrival ON quarantine USING btree (received_at);

CREATE INDEX quarantine_of_product ON quarantine USING btree (product, id);

CREATE INDEX quarantine_settled ON quarantine USING btree (settled_at) WHERE (settled_at IS NOT NULL);

CREATE INDEX quarantine_waiting ON quarantine USING btree (id) WHERE (settled_at IS NULL);

CREATE TABLE quarantine_replays (
    id text NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    version bigint NOT NULL,
    state text NOT NULL
);

ALTER TABLE ONLY quarantine_replays
    ADD CONSTRAINT quarantine_replays_pkey PRIMARY KEY (id);

CREATE INDEX quarantine_replays_by_time ON quarantine_replays USING btree (requested_at, id);

CREATE TABLE rebuilds (
    topic text NOT NULL,
    partition integer NOT NULL,
    until_offset bigint NOT NULL,
    is_emptied boolean DEFAULT false NOT NULL,
    announced_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY rebuilds
    ADD CONSTRAINT rebuilds_pkey PRIMARY KEY (topic, partition);

CREATE TABLE recording_began (
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY recording_began
    ADD CONSTRAINT recording_began_pkey PRIMARY KEY (at);

CREATE TABLE roles (
    account text NOT NULL,
    role text NOT NULL,
    product text NOT NULL,
    version bigint NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY roles
    ADD CONSTRAINT roles_pkey PRIMARY KEY (account, role);

CREATE INDEX roles_of_product ON roles USING btree (product, account, role);

CREATE TABLE schema_migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

CREATE TABLE sessions (
    id_sha256 bytea NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    vendor boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT sessions_id_sha256_check CHECK ((octet_length(id_sha256) = 32))
);

ALTER TABLE ONLY sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id_sha256);

CREATE INDEX sessions_expires_at ON sessions USING btree (expires_at);

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

CREATE TABLE statements (
    subscription text NOT NULL,
    as_of timestamp with time zone NOT NULL,
    format text NOT NULL,
    content bytea NOT NULL,
    sha256 text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT statements_format_check CHECK ((format = ANY (ARRAY['json'::text, 'pdf'::text])))
);

ALTER TABLE ONLY statements
    ADD CONSTRAINT statements_pkey PRIMARY KEY (subscription, as_of, format);

CREATE INDEX statements_by_age ON statements USING btree (as_of);

CREATE TABLE subscription_people (
    person text NOT NULL,
    subscription text NOT NULL,
    role text NOT NULL
);

ALTER TABLE ONLY subscription_people
    ADD CONSTRAINT subscription_people_pkey PRIMARY KEY (person, subscription, role);

ALTER TABLE ONLY subscription_people
    ADD CONSTRAINT subscription_people_subscription_fkey FOREIGN KEY (subscription) REFERENCES subscriptions(id) ON DELETE CASCADE;

CREATE INDEX people_of_subscription ON subscription_people USING btree (subscription);

CREATE TABLE subscription_versions (
    subscription text NOT NULL,
    version bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY subscription_versions
    ADD CONSTRAINT subscription_versions_pkey PRIMARY KEY (subscription, version);

CREATE INDEX subscription_versions_by_age ON subscription_versions USING btree (recorded_at);

CREATE TABLE subscriptions (
    id text NOT NULL,
    account text NOT NULL,
    version bigint NOT NULL,
    state jsonb NOT NULL
);

ALTER TABLE ONLY subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (id);

CREATE INDEX subscriptions_of_account ON subscriptions USING btree (account, id);

CREATE TABLE usage_books (
    day date NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    product text NOT NULL COLLATE pg_catalog."C",
    accepted bigint NOT NULL,
    applied bigint NOT NULL,
    duplicate bigint NOT NULL,
    quarantined bigint NOT NULL,
    revision bigint NOT NULL,
    lost bigint DEFAULT 0 NOT NULL
);

ALTER TABLE ONLY usage_books
    ADD CONSTRAINT usage_books_pkey PRIMARY KEY (day, product, source);

CREATE TABLE usage_days (
    subscription text NOT NULL,
    product text NOT NULL,
    meter text NOT NULL,
    day date NOT NULL,
    revision bigint NOT NULL,
    aggregate numeric NOT NULL,
    as_of timestamp with time zone NOT NULL
);

ALTER TABLE ONLY usage_days
    ADD CONSTRAINT usage_days_pkey PRIMARY KEY (subscription, product, meter, day);

CREATE INDEX usage_days_by_age ON usage_days USING btree (day);

CREATE TABLE usage_hours (
    subscription text NOT NULL,
    product text NOT NULL,
    meter text NOT NULL,
    day date NOT NULL,
    revision bigint NOT NULL,
    hours text NOT NULL
);

ALTER TABLE ONLY usage_hours
    ADD CONSTRAINT usage_hours_pkey PRIMARY KEY (subscription, product, meter, day);

CREATE INDEX usage_hours_by_age ON usage_hours USING btree (day);
