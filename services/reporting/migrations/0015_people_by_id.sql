-- squawk-ignore-file ban-drop-table
-- (The tables are empty: a database that has subscriptions is refused.)
-- Nothing that was read before can be understood any more, and its topics cannot be read again.
DO $$
BEGIN
    IF EXISTS (SELECT FROM subscriptions) THEN
        RAISE EXCEPTION 'This database is of a release in which people had no ids, and its topics cannot be read any '
            'more. Create the databases and topics of the installation anew (the local one: make reset).';
    END IF;
END $$;

-- People by id, from their own topic. Not unique by address: somebody erased and added again is two persons, whose records
-- may arrive in any order.
DROP TABLE people;
CREATE TABLE people (
    id text PRIMARY KEY,
    account text NOT NULL,
    email text NOT NULL,
    version bigint NOT NULL,
    removed_at timestamptz,
    state jsonb NOT NULL
);
CREATE INDEX people_of_account ON people (account, email);
CREATE INDEX people_email ON people (email);

-- Whoever has a role in a subscription is named by that id.
DROP TABLE subscription_people;
CREATE TABLE subscription_people (
    person text NOT NULL,
    subscription text NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    role text NOT NULL,
    PRIMARY KEY (person, subscription, role)
);
CREATE INDEX people_of_subscription ON subscription_people (subscription);
