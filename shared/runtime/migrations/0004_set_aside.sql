-- Records whose handling failed in a way that nobody has foreseen, and those of the same key that came after them. They
-- are tried again by themselves, in the order of their key, so that one key's trouble is nobody else's.
CREATE TABLE set_aside_keys (
    reader text NOT NULL,
    topic text NOT NULL,
    key bytea NOT NULL,
    error text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    since timestamptz NOT NULL DEFAULT now(),
    next_attempt_at timestamptz NOT NULL,
    PRIMARY KEY (reader, topic, key)
);
CREATE INDEX set_aside_keys_due ON set_aside_keys (reader, topic, next_attempt_at);

CREATE TABLE set_aside_records (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reader text NOT NULL,
    topic text NOT NULL,
    lane bytea NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    key bytea,
    value bytea,
    headers text NOT NULL,
    appended_at timestamptz NOT NULL
);
CREATE INDEX set_aside_records_lane ON set_aside_records (reader, topic, lane, id);
COMMENT ON COLUMN set_aside_records.lane IS 'The key of set_aside_keys: the record''s own, or one made up where it has none';
