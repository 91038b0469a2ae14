"""Metering's HTTP routes: usage in, entitlements and a platform's own quarantine out, authorised by ingest keys."""
