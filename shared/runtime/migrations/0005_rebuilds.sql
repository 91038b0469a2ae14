-- Up to where a read model that was emptied must be filled before it is believed again. A rebuild is announced before it
-- empties anything, so that every replica has noticed; one that was announced and never began is forgotten.
CREATE TABLE rebuilds (
    topic text NOT NULL,
    partition integer NOT NULL,
    until_offset bigint NOT NULL,
    is_emptied boolean NOT NULL DEFAULT false,
    announced_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);
