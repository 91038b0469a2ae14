"""Handlers of records, commands and tasks, each in the transaction that it is given."""
