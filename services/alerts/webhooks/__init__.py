"""Webhooks over HTTP: resolve and check addresses, send one signed request."""
