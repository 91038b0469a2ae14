"""Handlers of records, commands and tasks.

Each works in the transaction that it is given.
"""
