-- The database of metering: what the runtime's migrations and its own make of an empty one.
-- Written by `make schema`, for reading. Rights are not in it (docs/runtime.md).

CREATE FUNCTION detach_partition(parent text, first_day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '1s'
    AS $$
DECLARE
    child text := partition_of(parent, first_day);
    is_pending boolean := (SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(child));
BEGIN
    IF is_pending IS NOT NULL THEN
        EXECUTE format(
            'ALTER TABLE %I DETACH PARTITION %I %s', parent, child, CASE WHEN is_pending THEN 'FINALIZE' ELSE '' END
        );
    END IF;
END
$$;

CREATE FUNCTION drop_partition(parent text, first_day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    child text := partition_of(parent, first_day);
BEGIN
    IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(child)) THEN
        RAISE EXCEPTION '% still belongs to %', child, parent USING ERRCODE = 'object_in_use';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', child);
END
$$;

CREATE FUNCTION make_partition(parent text, first_day date, days integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    child text := partition_of(parent, first_day);
BEGIN
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('metering partitions'));
    IF EXISTS (SELECT FROM pg_class WHERE relname = child AND relnamespace = 'public'::regnamespace) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    IF parent = 'usage' THEN
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I (digest)', child || '_digest', child);
    ELSIF parent = 'usage_hour' THEN
        EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', child);
    END IF;
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent,
        child,
        first_day::timestamp AT TIME ZONE 'UTC',
        (first_day + days)::timestamp AT TIME ZONE 'UTC'
    );
END
$$;

CREATE FUNCTION move_hours(first_day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
    child text := partition_of('usage_hour', first_day);
BEGIN
    IF to_regclass(child) IS NULL THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(child)) THEN
        RAISE EXCEPTION '% still belongs to its table', child USING ERRCODE = 'object_in_use';
    END IF;
    EXECUTE format($sql$
        INSERT INTO usage_day AS d (day, subscription, meter, events, total, peak)
        SELECT date_trunc('day', hour, 'UTC') AS day, subscription, meter, sum(events), sum(total), max(peak)
        FROM %I GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (subscription, meter, day) DO UPDATE SET
            events = d.events + EXCLUDED.events, total = d.total + EXCLUDED.total,
            peak = greatest(d.peak, EXCLUDED.peak)
        $sql$, child);
    PERFORM drop_partition('usage_hour', first_day);
END
$_$;

CREATE FUNCTION partition_of(parent text, first_day date) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF parent IS NULL OR first_day IS NULL
       OR parent NOT IN ('usage', 'usage_midnight', 'sighting', 'usage_hour', 'usage_day', 'measured_days') THEN
        RAISE EXCEPTION 'metering has no partitions of %, %', parent, first_day USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN parent || '_' || to_char(first_day, 'YYYYMMDD');
END
$$;

CREATE TABLE book (
    day date NOT NULL,
    kafka_partition integer NOT NULL,
    source text NOT NULL,
    product text NOT NULL,
    accepted bigint DEFAULT 0 NOT NULL,
    applied bigint DEFAULT 0 NOT NULL,
    duplicate bigint DEFAULT 0 NOT NULL,
    quarantined bigint DEFAULT 0 NOT NULL,
    revision bigint DEFAULT 1 NOT NULL,
    untold boolean DEFAULT true NOT NULL,
    lost bigint DEFAULT 0 NOT NULL,
    CONSTRAINT book_balances CHECK ((accepted = ((applied + duplicate) + quarantined)))
)
WITH (fillfactor='70');

ALTER TABLE ONLY book
    ADD CONSTRAINT book_pkey PRIMARY KEY (day, kafka_partition, source, product);

CREATE INDEX book_untold ON book USING btree (day) WHERE untold;

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

CREATE TABLE correction (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    kafka_offset bigint NOT NULL,
    look_at timestamp with time zone,
    looks_from bigint,
    settled_at timestamp with time zone,
    reversed_at timestamp with time zone,
    window_start timestamp with time zone,
    target_at timestamp with time zone,
    digest uuid NOT NULL,
    target uuid,
    target_name text,
    subscription integer NOT NULL,
    meter integer,
    kafka_partition integer NOT NULL,
    kind integer NOT NULL,
    settled_as text,
    topic text NOT NULL,
    source text NOT NULL,
    product text NOT NULL,
    event_id text NOT NULL,
    resource text COLLATE pg_catalog."C",
    reason text,
    key bytea,
    value bytea,
    headers text NOT NULL,
    CONSTRAINT correction_kind_check CHECK ((kind = ANY (ARRAY[5, 6])))
);

ALTER TABLE ONLY correction
    ADD CONSTRAINT correction_pkey PRIMARY KEY (id);

CREATE INDEX correction_at ON correction USING btree (at);

CREATE INDEX correction_digest ON correction USING btree (digest);

CREATE INDEX correction_due ON correction USING btree (look_at) WHERE (look_at IS NOT NULL);

CREATE INDEX correction_purge ON correction USING btree (subscription, meter, resource, window_start, at) WHERE ((kind = 6) AND (reversed_at IS NULL));

CREATE INDEX correction_waiting ON correction USING btree (target) WHERE ((kind = 5) AND (settled_at IS NULL));

ALTER TABLE correction ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME correction_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE correction_woken (
    correction bigint NOT NULL
);

CREATE VIEW daily_usage AS
 SELECT day,
    subscription,
    meter,
    (sum(events))::bigint AS events,
    sum(total) AS total,
    max(peak) AS peak
   FROM ( SELECT usage_day.day,
            usage_day.subscription,
            usage_day.meter,
            usage_day.events,
            usage_day.total,
            usage_day.peak
           FROM usage_day
        UNION ALL
         SELECT date_trunc('day'::text, hourly_usage.hour, 'UTC'::text) AS date_trunc,
            hourly_usage.subscription,
            hourly_usage.meter,
            hourly_usage.events,
            hourly_usage.total,
            hourly_usage.peak
           FROM hourly_usage) parts
  GROUP BY day, subscription, meter;

CREATE TABLE day_due (
    id bigint NOT NULL,
    subscriptions integer[] NOT NULL,
    meters integer[] NOT NULL,
    days timestamp with time zone[] NOT NULL,
    not_before timestamp with time zone
);

ALTER TABLE ONLY day_due
    ADD CONSTRAINT day_due_pkey PRIMARY KEY (id);

ALTER TABLE day_due ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME day_due_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE hour_due (
    id bigint NOT NULL,
    days date[] NOT NULL,
    subscriptions integer[] NOT NULL,
    meters integer[] NOT NULL,
    hours timestamp with time zone[] NOT NULL,
    events bigint[] NOT NULL,
    totals numeric[] NOT NULL,
    peaks numeric[] NOT NULL
);
ALTER TABLE ONLY hour_due ALTER COLUMN subscriptions SET STORAGE EXTERNAL;
ALTER TABLE ONLY hour_due ALTER COLUMN meters SET STORAGE EXTERNAL;
ALTER TABLE ONLY hour_due ALTER COLUMN hours SET STORAGE EXTERNAL;
ALTER TABLE ONLY hour_due ALTER COLUMN events SET STORAGE EXTERNAL;
ALTER TABLE ONLY hour_due ALTER COLUMN totals SET STORAGE EXTERNAL;
ALTER TABLE ONLY hour_due ALTER COLUMN peaks SET STORAGE EXTERNAL;

ALTER TABLE ONLY hour_due
    ADD CONSTRAINT hour_due_pkey PRIMARY KEY (id);

ALTER TABLE hour_due ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME hour_due_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW hourly_usage AS
 SELECT hour,
    subscription,
    meter,
    (sum(events))::bigint AS events,
    sum(total) AS total,
    max(peak) AS peak
   FROM ( SELECT usage_hour.hour,
            usage_hour.subscription,
            usage_hour.meter,
            usage_hour.events,
            usage_hour.total,
            usage_hour.peak
           FROM usage_hour
        UNION ALL
         SELECT added.hour,
            added.subscription,
            added.meter,
            added.events,
            added.total,
            added.peak
           FROM (hour_due due
             CROSS JOIN LATERAL UNNEST(due.hours, due.subscriptions, due.meters, due.events, due.totals, due.peaks) added(hour, subscription, meter, events, total, peak))) parts
  GROUP BY hour, subscription, meter
 HAVING (sum(events) > (0)::numeric);

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

CREATE TABLE ingest_key (
    id text NOT NULL,
    product text NOT NULL,
    secret_sha256 bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    version bigint NOT NULL,
    events_per_second bigint,
    max_body_bytes bigint,
    replaces text,
    replaced_by text
);

ALTER TABLE ONLY ingest_key
    ADD CONSTRAINT ingest_key_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ingest_key
    ADD CONSTRAINT ingest_key_secret_sha256_key UNIQUE (secret_sha256);

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

CREATE TABLE measured_days (
    day timestamp with time zone NOT NULL,
    as_of timestamp with time zone NOT NULL,
    revision bigint NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    aggregate numeric NOT NULL,
    hours text NOT NULL,
    CONSTRAINT measured_days_not_below_zero CHECK ((aggregate >= (0)::numeric))
)
PARTITION BY RANGE (day);

ALTER TABLE ONLY measured_days
    ADD CONSTRAINT measured_days_pkey PRIMARY KEY (subscription, meter, day);

CREATE TABLE meter (
    number integer NOT NULL,
    product text NOT NULL,
    id text NOT NULL
);

ALTER TABLE ONLY meter
    ADD CONSTRAINT meter_pkey PRIMARY KEY (number);

ALTER TABLE ONLY meter
    ADD CONSTRAINT meter_product_id_key UNIQUE (product, id);

ALTER TABLE meter ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME meter_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE meter_window (
    window_start timestamp with time zone NOT NULL,
    as_of timestamp with time zone NOT NULL,
    reached_at timestamp with time zone,
    revision bigint NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    aggregate numeric NOT NULL,
    CONSTRAINT meter_window_not_below_zero CHECK ((aggregate >= (0)::numeric))
)
WITH (fillfactor='70');

ALTER TABLE ONLY meter_window
    ADD CONSTRAINT meter_window_pkey PRIMARY KEY (subscription, meter, window_start);

CREATE TABLE move_due (
    id bigint NOT NULL,
    subscription integer NOT NULL,
    since timestamp with time zone NOT NULL,
    lost boolean NOT NULL,
    terms boolean NOT NULL,
    windows boolean NOT NULL,
    look_at timestamp with time zone NOT NULL,
    looks_from bigint
);

ALTER TABLE ONLY move_due
    ADD CONSTRAINT move_due_pkey PRIMARY KEY (id);

CREATE INDEX move_due_look_at ON move_due USING btree (look_at);

ALTER TABLE move_due ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME move_due_id_seq
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

CREATE TABLE product (
    id text NOT NULL,
    state text NOT NULL,
    version bigint NOT NULL,
    projection_version bigint NOT NULL
);

ALTER TABLE ONLY product
    ADD CONSTRAINT product_pkey PRIMARY KEY (id);

CREATE TABLE projection (
    only_row boolean DEFAULT true NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    CONSTRAINT projection_only_row_check CHECK (only_row)
);

ALTER TABLE ONLY projection
    ADD CONSTRAINT projection_pkey PRIMARY KEY (only_row);

CREATE TABLE quarantine (
    id bigint NOT NULL,
    topic text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    quarantined_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    source text NOT NULL,
    product text NOT NULL,
    subscription text,
    event_id text,
    key bytea,
    value bytea,
    headers text NOT NULL,
    judged_version bigint NOT NULL,
    settled_at timestamp with time zone,
    settled_as text,
    version bigint DEFAULT 1 NOT NULL,
    untold boolean DEFAULT true NOT NULL,
    digest uuid,
    at timestamp with time zone
);

ALTER TABLE ONLY quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (id);

CREATE INDEX quarantine_after_end ON quarantine USING btree (subscription, at) WHERE ((settled_at IS NULL) AND (reason = 'after_end'::text));

CREATE INDEX quarantine_applied_before ON quarantine USING btree (subscription) WHERE ((settled_at IS NULL) AND (digest IS NOT NULL));

CREATE INDEX quarantine_product ON quarantine USING btree (product, id);

CREATE INDEX quarantine_settled ON quarantine USING btree (settled_at) WHERE (settled_at IS NOT NULL);

CREATE INDEX quarantine_untold ON quarantine USING btree (id) WHERE untold;

CREATE INDEX quarantine_waiting_product ON quarantine USING btree (product, judged_version) WHERE ((settled_at IS NULL) AND (reason = ANY (ARRAY['unknown_subscription'::text, 'unknown_product'::text, 'unknown_meter'::text, 'product_not_subscribed'::text])));

CREATE INDEX quarantine_waiting_subscription ON quarantine USING btree (subscription, judged_version) WHERE ((settled_at IS NULL) AND (reason = ANY (ARRAY['unknown_subscription'::text, 'unknown_product'::text, 'unknown_meter'::text, 'product_not_subscribed'::text])));

ALTER TABLE quarantine ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME quarantine_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE quarantine_replay (
    number bigint NOT NULL,
    id text NOT NULL,
    wanted text NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    requested_by text NOT NULL,
    address text,
    correlation_id text,
    last_row bigint NOT NULL,
    done_row bigint DEFAULT 0 NOT NULL,
    total bigint,
    judged bigint DEFAULT 0 NOT NULL,
    applied bigint DEFAULT 0 NOT NULL,
    duplicate bigint DEFAULT 0 NOT NULL,
    finished_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL
);

ALTER TABLE ONLY quarantine_replay
    ADD CONSTRAINT quarantine_replay_id_key UNIQUE (id);

ALTER TABLE ONLY quarantine_replay
    ADD CONSTRAINT quarantine_replay_pkey PRIMARY KEY (number);

CREATE INDEX quarantine_replay_unfinished ON quarantine_replay USING btree (number) WHERE (finished_at IS NULL);

ALTER TABLE quarantine_replay ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME quarantine_replay_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE rebuilds (
    topic text NOT NULL,
    partition integer NOT NULL,
    until_offset bigint NOT NULL,
    is_emptied boolean DEFAULT false NOT NULL,
    announced_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY rebuilds
    ADD CONSTRAINT rebuilds_pkey PRIMARY KEY (topic, partition);

CREATE TABLE restatement (
    id bigint NOT NULL,
    restated_at timestamp with time zone NOT NULL,
    window_start timestamp with time zone NOT NULL,
    revision bigint NOT NULL,
    subscription integer NOT NULL,
    product text NOT NULL,
    cause text NOT NULL,
    consumed_before bigint,
    consumed_after bigint NOT NULL,
    figures_before text,
    figures_after text NOT NULL
);

ALTER TABLE ONLY restatement
    ADD CONSTRAINT restatement_pkey PRIMARY KEY (id);

CREATE INDEX restatement_restated_at ON restatement USING btree (restated_at);

CREATE INDEX restatement_window ON restatement USING btree (subscription, product, window_start);

ALTER TABLE restatement ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME restatement_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE restating (
    window_start timestamp with time zone NOT NULL,
    noted_at timestamp with time zone NOT NULL,
    as_of timestamp with time zone NOT NULL,
    reached_at timestamp with time zone,
    revision bigint NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    aggregate numeric NOT NULL,
    cause text NOT NULL
);

ALTER TABLE ONLY restating
    ADD CONSTRAINT restating_pkey PRIMARY KEY (subscription, meter, window_start);

CREATE INDEX restating_noted_at ON restating USING btree (noted_at);

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

CREATE TABLE sighting (
    window_start timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    resource text NOT NULL COLLATE pg_catalog."C"
)
PARTITION BY RANGE (window_start);

ALTER TABLE ONLY sighting
    ADD CONSTRAINT sighting_pkey PRIMARY KEY (subscription, meter, window_start, resource);

CREATE TABLE snapshot_due (
    id bigint NOT NULL,
    subscriptions integer[] NOT NULL,
    meters integer[] NOT NULL,
    windows timestamp with time zone[] NOT NULL,
    not_before timestamp with time zone
);

ALTER TABLE ONLY snapshot_due
    ADD CONSTRAINT snapshot_due_pkey PRIMARY KEY (id);

ALTER TABLE snapshot_due ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME snapshot_due_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE source (
    number integer NOT NULL,
    id text NOT NULL
);

ALTER TABLE ONLY source
    ADD CONSTRAINT source_id_key UNIQUE (id);

ALTER TABLE ONLY source
    ADD CONSTRAINT source_pkey PRIMARY KEY (number);

ALTER TABLE source ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME source_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE subscription (
    number integer NOT NULL,
    id text NOT NULL,
    state text NOT NULL,
    version bigint NOT NULL,
    projection_version bigint NOT NULL,
    counts_until timestamp with time zone
);

ALTER TABLE ONLY subscription
    ADD CONSTRAINT subscription_id_key UNIQUE (id);

ALTER TABLE ONLY subscription
    ADD CONSTRAINT subscription_pkey PRIMARY KEY (number);

CREATE INDEX subscription_projection_version ON subscription USING btree (projection_version);

ALTER TABLE subscription ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME subscription_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE usage (
    at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    kafka_offset bigint NOT NULL,
    digest uuid NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    source integer NOT NULL,
    kafka_partition integer NOT NULL,
    quantity numeric NOT NULL,
    resource text COLLATE pg_catalog."C",
    extra text,
    reversed_at timestamp with time zone,
    quarantined_at timestamp with time zone
)
PARTITION BY RANGE (at);

CREATE INDEX usage_at ON ONLY usage USING brin (at) WITH (autosummarize='on');

CREATE TABLE usage_day (
    day timestamp with time zone NOT NULL,
    events bigint NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    total numeric NOT NULL,
    peak numeric NOT NULL
)
PARTITION BY RANGE (day);

ALTER TABLE ONLY usage_day
    ADD CONSTRAINT usage_day_pkey PRIMARY KEY (subscription, meter, day);

CREATE TABLE usage_hour (
    hour timestamp with time zone NOT NULL,
    events bigint NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    total numeric NOT NULL,
    peak numeric NOT NULL
)
PARTITION BY RANGE (hour);

ALTER TABLE ONLY usage_hour
    ADD CONSTRAINT usage_hour_pkey PRIMARY KEY (subscription, meter, hour);

CREATE TABLE usage_midnight (
    midnight timestamp with time zone NOT NULL,
    digest uuid NOT NULL
)
PARTITION BY RANGE (midnight);

ALTER TABLE ONLY usage_midnight
    ADD CONSTRAINT usage_midnight_pkey PRIMARY KEY (midnight, digest);

CREATE TABLE usage_position (
    topic text NOT NULL,
    kafka_partition integer NOT NULL,
    appended_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY usage_position
    ADD CONSTRAINT usage_position_pkey PRIMARY KEY (topic, kafka_partition);
