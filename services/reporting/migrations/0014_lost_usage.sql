-- Usage records that Kafka deleted before metering read them, or that somebody stepped over.
ALTER TABLE usage_books ADD COLUMN lost bigint NOT NULL DEFAULT 0;
