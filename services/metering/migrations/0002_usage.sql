-- Usage: raw events, what they add up to, and the books. Times in UTC. Numbers stand for the ids in 0001.

-- Every applied event, once. A partition holds one UTC day of the events' time and has its own unique index on the
-- digest of (source, id): that index is the de-duplication.
CREATE TABLE usage (
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    kafka_offset bigint NOT NULL,
    digest uuid NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    source integer NOT NULL,
    kafka_partition integer NOT NULL,
    quantity numeric NOT NULL,
    resource text COLLATE "C",
    extra text
) PARTITION BY RANGE (at);

-- Identities seen within an hour of a midnight, so that they hold in the neighbouring day too.
CREATE TABLE usage_midnight (
    midnight timestamptz NOT NULL,
    digest uuid NOT NULL,
    PRIMARY KEY (midnight, digest)
) PARTITION BY RANGE (midnight);

-- Which resources were seen in which window, for meters that count them. Partitioned by week of the window's start.
CREATE TABLE sighting (
    window_start timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    resource text COLLATE "C" NOT NULL,
    PRIMARY KEY (subscription, meter, window_start, resource)
) PARTITION BY RANGE (window_start);

CREATE TABLE usage_hour (
    hour timestamptz NOT NULL,
    events bigint NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    total numeric NOT NULL,
    peak numeric NOT NULL,
    PRIMARY KEY (subscription, meter, hour)
) PARTITION BY RANGE (hour);

-- What a meter measured in one window. reached_at is when the peak, or the latest level, was. The consumption of a
-- product is a function of these rows and the catalogue; its revision is the sum of theirs and the product's version.
CREATE TABLE meter_window (
    window_start timestamptz NOT NULL,
    as_of timestamptz NOT NULL,
    reached_at timestamptz,
    revision bigint NOT NULL,
    subscription integer NOT NULL,
    meter integer NOT NULL,
    aggregate numeric NOT NULL,
    PRIMARY KEY (subscription, meter, window_start)
) WITH (fillfactor = 70);

-- Meter windows that changed and whose snapshot is not published yet: one row per change of many, removed when the
-- broker has acknowledged a snapshot that was read after it.
CREATE TABLE snapshot_due (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriptions integer[] NOT NULL,
    meters integer[] NOT NULL,
    windows timestamptz[] NOT NULL
);

-- accepted = applied + duplicate + quarantined, per source, product and UTC day of arrival. The Kafka partition is part
-- of the key so that processes do not wait for each other.
CREATE TABLE book (
    day date NOT NULL,
    kafka_partition integer NOT NULL,
    source text NOT NULL,
    product text NOT NULL,
    accepted bigint NOT NULL DEFAULT 0,
    applied bigint NOT NULL DEFAULT 0,
    duplicate bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (day, kafka_partition, source, product),
    CONSTRAINT book_balances CHECK (accepted = applied + duplicate + quarantined)
) WITH (fillfactor = 70);

-- Up to which append time each partition is applied.
CREATE TABLE usage_position (
    topic text NOT NULL,
    kafka_partition integer NOT NULL,
    appended_at timestamptz NOT NULL,
    PRIMARY KEY (topic, kafka_partition)
);

-- Usage that is not applied, whole, with its reason. settled_at: applied (or found a duplicate) by a later replay.
CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    received_at timestamptz NOT NULL,
    quarantined_at timestamptz NOT NULL,
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
    settled_at timestamptz,
    settled_as text
);
CREATE INDEX quarantine_product ON quarantine (product, id);
CREATE INDEX quarantine_waiting_subscription ON quarantine (subscription, judged_version)
    WHERE settled_at IS NULL
    AND reason IN ('unknown_subscription', 'unknown_product', 'unknown_meter', 'product_not_subscribed');
CREATE INDEX quarantine_waiting_product ON quarantine (product, judged_version)
    WHERE settled_at IS NULL
    AND reason IN ('unknown_subscription', 'unknown_product', 'unknown_meter', 'product_not_subscribed');

-- Make the partition of parent that begins at first_day, where it is missing. Attaching (instead of creating in place)
-- does not block those who are writing to other partitions.
CREATE FUNCTION make_partition(parent text, first_day date, days integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    child text := parent || '_' || to_char(first_day, 'YYYYMMDD');
BEGIN
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('metering partitions'));
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    IF parent = 'usage' THEN
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I (digest)', child || '_digest', child);
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
