-- Offsets mean something only in the very topic that they were stored for: a topic made anew has another id.
-- NULL: stored before ids were known, or to begin again; the next reader notes the id.
ALTER TABLE consumer_offsets ADD COLUMN topic_id uuid;

-- Offsets that were never read: Kafka had deleted the records, or an operator stepped over them.
CREATE TABLE lost_records (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reader text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    reason text NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX lost_records_topic ON lost_records (reader, topic);
