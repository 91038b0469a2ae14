"""A small OpenID Connect issuer for the demo and for tests: real protocol, invented people, loopback only."""
