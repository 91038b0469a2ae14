-- People of an account. version 0: filled by this migration and not yet told to anybody (see handlers/completing.py).
CREATE TABLE people (
    account text NOT NULL REFERENCES accounts (id),
    email text NOT NULL,
    name text NOT NULL,
    enabled boolean NOT NULL,
    removed_at timestamptz,
    version bigint NOT NULL CHECK (version >= 0),
    PRIMARY KEY (account, email)
);
CREATE INDEX people_untold ON people (account, email) WHERE version = 0;

INSERT INTO people (account, email, name, enabled, removed_at, version)
SELECT DISTINCT ON (account, primary_email) account, primary_email, primary_name, true, NULL::timestamptz, 0
FROM subscriptions
ORDER BY account, primary_email, id;

-- Delegates were known by their address only.
INSERT INTO people (account, email, name, enabled, removed_at, version)
SELECT DISTINCT s.account, g.email, g.email, true, NULL::timestamptz, 0
FROM grants AS g
JOIN subscriptions AS s ON s.id = g.subscription
ON CONFLICT DO NOTHING;

CREATE INDEX grants_email ON grants (email);

-- What may be permitted in a product's application, and its default roles. roles_version 0: it has none yet.
ALTER TABLE products ADD COLUMN roles_version integer NOT NULL DEFAULT 0;

CREATE TABLE permissions (
    product text NOT NULL REFERENCES products (id),
    id text NOT NULL,
    place integer NOT NULL,
    category text NOT NULL,
    description text NOT NULL,
    PRIMARY KEY (product, id)
);

-- The id of a default role is unique over all products, because an account knows its roles by their ids alone.
CREATE TABLE role_templates (
    role text PRIMARY KEY,
    product text NOT NULL REFERENCES products (id),
    place integer NOT NULL,
    name text NOT NULL,
    summary text NOT NULL,
    permissions text[] NOT NULL
);
CREATE INDEX role_templates_product ON role_templates (product);

-- Roles as an account has them. customised NULL: as the template says.
CREATE TABLE roles (
    account text NOT NULL REFERENCES accounts (id),
    id text NOT NULL,
    product text NOT NULL REFERENCES products (id),
    name text NOT NULL,
    is_default boolean NOT NULL,
    customised text[],
    based_on integer,
    version bigint NOT NULL CHECK (version > 0),
    PRIMARY KEY (account, id),
    CHECK (is_default OR customised IS NOT NULL)
);
CREATE INDEX roles_id ON roles (id);

CREATE TABLE role_members (
    account text NOT NULL,
    role text NOT NULL,
    email text NOT NULL,
    PRIMARY KEY (account, role, email),
    FOREIGN KEY (account, role) REFERENCES roles (account, id),
    FOREIGN KEY (account, email) REFERENCES people (account, email)
);
CREATE INDEX role_members_email ON role_members (account, email);

-- Every price list, for ever; the newest holds. Money is in minor units of the currency. Tiers lie side by side in
-- two arrays: from how many units, and the discount in hundredths of a percent.
CREATE TABLE price_lists (
    version integer PRIMARY KEY CHECK (version > 0),
    currency text NOT NULL,
    list_price_minor bigint NOT NULL CHECK (list_price_minor >= 0),
    tier_from_units bigint[] NOT NULL,
    tier_discounts integer[] NOT NULL,
    set_at timestamptz NOT NULL,
    CHECK (cardinality(tier_from_units) = cardinality(tier_discounts))
);
