-- What left the quarantine is forgotten by when that was.
CREATE INDEX quarantine_settled ON quarantine (settled_at) WHERE settled_at IS NOT NULL;
