"""The demo's data: invented accounts, their past usage, and live usage.

It goes through the same APIs and topics as real data, except what is too old for them.
"""
