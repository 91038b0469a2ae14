-- Forecasts of subscriptions, as the daily run made them: of each measurement window the newest one, for 12 months, so that
-- they can be compared with what then happened. They are made here and come from no topic, so `rebuild` keeps them.
-- inputs: the windows that a forecast was made of; scopes: the forecasts of the pool and of each product; accuracies: how
-- good the earlier ones were.
CREATE TABLE forecasts (
    subscription text NOT NULL,
    window_start timestamptz NOT NULL,
    version bigint NOT NULL,
    subscription_version bigint NOT NULL,
    made_at timestamptz NOT NULL,
    method bigint NOT NULL,
    term_start timestamptz NOT NULL,
    inputs jsonb NOT NULL,
    scopes jsonb NOT NULL,
    accuracies jsonb NOT NULL,
    PRIMARY KEY (subscription, window_start)
);
CREATE INDEX forecasts_by_age ON forecasts (made_at);
