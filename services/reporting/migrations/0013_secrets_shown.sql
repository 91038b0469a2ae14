-- A secret that was made with a command (a channel's, an ingest key) is kept sealed for a day: for the answer to a repeat,
-- and, where no answer has shown it yet, to be shown once with the command. secret_shown_at: when it first was.
ALTER TABLE commands ADD COLUMN secret_shown_at timestamptz;
-- What is older than this was shown with its answer, or can be asked for by repeating the command.
UPDATE commands SET secret_shown_at = sent_at WHERE sealed_secret IS NOT NULL;
CREATE INDEX commands_with_secret ON commands (sent_at) WHERE sealed_secret IS NOT NULL;
