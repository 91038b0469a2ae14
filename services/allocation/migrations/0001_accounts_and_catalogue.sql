-- Customer organisations, and the vendor's catalogue. The version of a row is that of its last event.

CREATE TABLE accounts (
    id text PRIMARY KEY,
    name text NOT NULL,
    flex_enabled boolean NOT NULL,
    version bigint NOT NULL CHECK (version > 0)
);

CREATE TABLE products (
    id text PRIMARY KEY,
    name text NOT NULL,
    sources text[] NOT NULL,
    retired_at timestamptz,
    version bigint NOT NULL CHECK (version > 0)
);

CREATE TABLE meters (
    product text NOT NULL REFERENCES products (id),
    id text NOT NULL,
    place integer NOT NULL,
    name text NOT NULL,
    aggregation text NOT NULL CHECK (aggregation IN ('sum', 'count', 'peak', 'unique', 'latest')),
    reset text NOT NULL CHECK (reset IN ('window', 'term')),
    PRIMARY KEY (product, id)
);

-- Effective-dated: a rate holds from its date until that of the meter's next version.
CREATE TABLE rates (
    product text NOT NULL,
    meter text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    units bigint NOT NULL CHECK (units > 0),
    block bigint NOT NULL CHECK (block > 0),
    effective_from timestamptz NOT NULL,
    PRIMARY KEY (product, meter, version),
    UNIQUE (product, meter, effective_from),
    FOREIGN KEY (product, meter) REFERENCES meters (product, id)
);
