-- What the runtime needs in every service's database to keep its promises. Services do not touch these tables.

-- Records to publish, written in the transaction of the state that they tell of. The relay sends them in order of id.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    key bytea,
    value bytea,
    headers text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Commands that were decided, with their outcome, so that a repeat gets the same answer.
CREATE TABLE inbox (
    actor text NOT NULL,
    command_id uuid NOT NULL,
    command text NOT NULL,
    digest bytea NOT NULL,
    outcome text NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (actor, command_id)
);

-- The next offset of each partition, moved in the transaction of the effect: the truth about what was applied.
CREATE TABLE consumer_offsets (
    reader text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (reader, topic, partition)
);
