"""Metering's rules: reading usage, placing it, and turning aggregates into units. No I/O."""
