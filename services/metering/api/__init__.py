"""Metering's HTTP edge: usage comes in, entitlements and a platform's own quarantine go out. All by ingest key."""
