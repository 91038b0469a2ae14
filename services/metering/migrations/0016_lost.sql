-- Records that expired before they were read, or were skipped, by the day on which that was noticed. They were never
-- accepted: accepted = applied + duplicate + quarantined stays true without them.
ALTER TABLE book ADD COLUMN lost bigint NOT NULL DEFAULT 0;
