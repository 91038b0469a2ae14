"""A service for tests: it inserts a row and publishes an event per record of ``allocation.events``."""
