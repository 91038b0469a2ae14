-- Allocation's projection of metering.consumption, for the floor: the newest snapshot of the last few windows of each
-- product. It may be thrown away and filled again from the topic. No foreign keys: it may be ahead of the rest.
CREATE TABLE consumption (
    subscription text NOT NULL,
    product text NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    revision bigint NOT NULL,
    level bigint NOT NULL CHECK (level >= 0),
    burned_down bigint NOT NULL CHECK (burned_down >= 0),
    PRIMARY KEY (subscription, product, window_start)
);
CREATE INDEX consumption_window_end ON consumption (window_end);
