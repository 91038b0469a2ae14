"""Handlers of batches, commands and deliveries.

Each loads, decides, saves and publishes in the transaction that it is given.
"""
