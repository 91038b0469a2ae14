"""The rules of metering, without input or output.

They read usage, place it, and turn aggregates into units.
"""
