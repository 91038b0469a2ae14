-- Commands that could not be decided yet, in the order in which they came: those of one key are decided in this order.
-- give_up_at NULL: it has not been tried, it only stands behind another of its key.
CREATE TABLE postponed_commands (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    key bytea,
    value bytea NOT NULL,
    headers text NOT NULL,
    appended_at timestamptz NOT NULL,
    give_up_at timestamptz
);
CREATE INDEX postponed_commands_key ON postponed_commands (topic, key, id);
