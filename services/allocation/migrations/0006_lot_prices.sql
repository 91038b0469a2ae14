-- What a lot cost, with its arithmetic, as the event tells it (shared.events.state.Price). NULL: bought without a price.
ALTER TABLE lots ADD COLUMN price jsonb;
