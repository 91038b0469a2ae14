-- Reports read deliveries in this order; the other tables have an index for theirs.
CREATE INDEX deliveries_of_subscription ON deliveries (subscription, id);
