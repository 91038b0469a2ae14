"""A service for tests: notes each record of ``allocation.events`` and publishes what it noted."""
