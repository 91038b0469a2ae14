"""A service for tests: a row and an event per record of ``allocation.events``."""
