"""A small OpenID Connect issuer for the demo and for tests, on the loopback interface."""
