-- Read models like those of 0001: people and roles by account, and the price list.

CREATE TABLE people (
    account text NOT NULL,
    email text NOT NULL,
    version bigint NOT NULL,
    removed_at timestamptz,
    state jsonb NOT NULL,
    PRIMARY KEY (account, email)
);

CREATE TABLE roles (
    account text NOT NULL,
    role text NOT NULL,
    product text NOT NULL,
    version bigint NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (account, role)
);
CREATE INDEX roles_of_product ON roles (product, account, role);

-- One row, id 'units': what units cost from now on.
CREATE TABLE price_lists (
    id text PRIMARY KEY,
    version bigint NOT NULL,
    state jsonb NOT NULL
);
