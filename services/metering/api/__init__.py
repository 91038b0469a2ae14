"""The HTTP routes of metering, authorised by ingest keys.

Platforms send usage to them, and read entitlements, counted resources and their own quarantine.
"""
