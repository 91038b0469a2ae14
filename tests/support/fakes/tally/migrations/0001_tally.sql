-- No key: a record that is applied twice shall show.
CREATE TABLE tally (id text NOT NULL, applied_by integer NOT NULL);
