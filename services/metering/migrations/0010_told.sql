-- What is to be told of the quarantine and the books: a task publishes it a moment later, in pieces. Rows that were told
-- are not in the indexes, and a line that changes while it is untold changes no index: writing usage costs nothing more.

ALTER TABLE quarantine
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN untold boolean NOT NULL DEFAULT true;
CREATE INDEX quarantine_untold ON quarantine (id) WHERE untold;

ALTER TABLE book
    ADD COLUMN revision bigint NOT NULL DEFAULT 1,
    ADD COLUMN untold boolean NOT NULL DEFAULT true;
CREATE INDEX book_untold ON book (day) WHERE untold;

-- Replays that somebody asked for: what is wanted, up to which row, and how far it is.
CREATE TABLE quarantine_replay (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    wanted text NOT NULL,
    requested_at timestamptz NOT NULL,
    requested_by text NOT NULL,
    address text,
    correlation_id text,
    last_row bigint NOT NULL,
    done_row bigint NOT NULL DEFAULT 0,
    total bigint,
    judged bigint NOT NULL DEFAULT 0,
    applied bigint NOT NULL DEFAULT 0,
    duplicate bigint NOT NULL DEFAULT 0,
    finished_at timestamptz,
    version bigint NOT NULL DEFAULT 1
);
CREATE INDEX quarantine_replay_unfinished ON quarantine_replay (number) WHERE finished_at IS NULL;

-- A key's own limits (absent: the door's), and the keys of a rotation.
ALTER TABLE ingest_key
    ADD COLUMN events_per_second bigint,
    ADD COLUMN max_body_bytes bigint,
    ADD COLUMN replaces text,
    ADD COLUMN replaced_by text;
