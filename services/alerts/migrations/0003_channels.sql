-- account: the customer; its deliveries share a part of the workers. sealed_url: where a channel's alerts go, which is a
-- secret; url is what is shown of it. Without sealed_url the row is of before: the service seals it when it starts.
ALTER TABLE channels ADD COLUMN account text NOT NULL DEFAULT '', ADD COLUMN sealed_url text;
UPDATE channels SET account = coalesce(states.state ->> 'account', '')
FROM states WHERE states.subscription = channels.subscription;

-- The channels that have something pending, and per channel what is due first and how much is being sent.
CREATE INDEX deliveries_of_channel ON deliveries (channel, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_in_flight ON deliveries (channel) WHERE state = 'pending' AND lease IS NOT NULL;
