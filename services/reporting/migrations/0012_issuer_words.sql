-- What the issuer said last of those whom it ever called a vendor operator. A session says what it was told when it began;
-- who is no operator any more is none in the sessions that are open either.
CREATE TABLE issuer_words (
    email text PRIMARY KEY,
    vendor boolean NOT NULL,
    said_at timestamptz NOT NULL
);
