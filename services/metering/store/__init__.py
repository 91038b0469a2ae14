"""Metering's tables: one module per table or per statement that belongs together."""
