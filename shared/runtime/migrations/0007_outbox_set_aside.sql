-- Rows of the outbox that Kafka refuses: they wait here by name, so that no other key's rows wait with them.
-- A topic that takes nothing at all (it does not exist, it may not be written) has one row, without a key and row_id.
-- Otherwise it is all rows of one key, so that their order is kept; row_id names a row that has no key.
CREATE TABLE outbox_set_aside (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    key bytea,
    row_id bigint,
    error text NOT NULL,
    failures integer NOT NULL DEFAULT 1,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry_at timestamptz NOT NULL
);
