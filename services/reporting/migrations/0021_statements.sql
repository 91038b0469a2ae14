-- What statements as of a past instant are made of: states with the time at which they were recorded, revisions of
-- consumption, and the statements themselves.

-- Every state that an event of a subscription or product carried; recorded_at: the event's time. Read models.
CREATE TABLE subscription_versions (
    subscription text NOT NULL,
    version bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (subscription, version)
);
CREATE INDEX subscription_versions_by_age ON subscription_versions (recorded_at);

CREATE TABLE product_versions (
    product text NOT NULL,
    version bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (product, version)
);

-- Revisions of consumption, as they were recorded. Of a window that was open then, one row per hour holds the hour's last
-- revision, which counts from the end of that hour on (known_at), or from the window's end; of a window that had ended,
-- each revision has a row, which counts from when it was recorded. So what counts at an instant that has passed does not
-- change. The topic is compacted: `rebuild` could not bring them back, and keeps them.
-- retained_as: 'hour', thinned to the last of each day after 45 days; 'day' (or each revision of an ended window), for
-- 12 months; 'last', the last revision of its window then, for another 12 months, since statements show earlier windows.
CREATE TABLE consumption_revisions (
    subscription text NOT NULL,
    product text NOT NULL,
    window_start timestamptz NOT NULL,
    known_at timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    retained_as text NOT NULL CHECK (retained_as IN ('hour', 'day', 'last')),
    recorded_at timestamptz NOT NULL,
    revision bigint NOT NULL,
    consumed bigint NOT NULL,
    level bigint NOT NULL,
    burned_down bigint NOT NULL,
    as_of timestamptz NOT NULL,
    meters jsonb NOT NULL,
    PRIMARY KEY (subscription, product, window_start, known_at)
);
CREATE INDEX hourly_revisions_by_age ON consumption_revisions (known_at) WHERE retained_as = 'hour';
CREATE INDEX revisions_by_age ON consumption_revisions (known_at) WHERE retained_as = 'day';
CREATE INDEX last_revisions_by_age ON consumption_revisions (window_end) WHERE retained_as = 'last';

-- Statements as they were made: the same bytes whenever they are requested again. The PDF is made from the JSON.
CREATE TABLE statements (
    subscription text NOT NULL,
    as_of timestamptz NOT NULL,
    format text NOT NULL CHECK (format IN ('json', 'pdf')),
    content bytea NOT NULL,
    sha256 text NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (subscription, as_of, format)
);
CREATE INDEX statements_by_age ON statements (as_of);

-- An upgraded database knows no revisions from before: no row if it was empty, so that everything is recorded.
CREATE TABLE recording_began (at timestamptz PRIMARY KEY);
INSERT INTO recording_began
SELECT now() WHERE EXISTS (SELECT FROM subscriptions) OR EXISTS (SELECT FROM consumption);
INSERT INTO subscription_versions SELECT id, version, now(), state FROM subscriptions;
INSERT INTO product_versions SELECT id, version, now(), state FROM products;
INSERT INTO consumption_revisions
SELECT subscription, product, window_start, now(), window_end, 'day', now(), revision, consumed, level, burned_down,
    as_of, meters
FROM consumption;
