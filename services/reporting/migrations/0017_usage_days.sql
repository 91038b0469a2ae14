-- Usage by UTC day, and in the other table by its hours: years of days are read without their hours.
CREATE TABLE usage_days (
    subscription text NOT NULL,
    product text NOT NULL,
    meter text NOT NULL,
    day date NOT NULL,
    revision bigint NOT NULL,
    aggregate numeric NOT NULL,
    as_of timestamptz NOT NULL,
    PRIMARY KEY (subscription, product, meter, day)
);
CREATE INDEX usage_days_by_age ON usage_days (day);

CREATE TABLE usage_hours (
    subscription text NOT NULL,
    product text NOT NULL,
    meter text NOT NULL,
    day date NOT NULL,
    revision bigint NOT NULL,
    hours text NOT NULL,
    PRIMARY KEY (subscription, product, meter, day)
);
CREATE INDEX usage_hours_by_age ON usage_hours (day);

-- What a window added to the units of the meters that burn down, for sums over many subscriptions. It is null for rows
-- saved before; a rebuild fills it in.
ALTER TABLE consumption ADD COLUMN added bigint;
