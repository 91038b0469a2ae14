"""Webhooks over HTTP: names to checked addresses, and one signed request."""
