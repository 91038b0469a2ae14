"""A small OpenID Connect issuer on the loopback interface.

The demo and tests use it.
"""
