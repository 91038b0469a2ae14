"""What may be read, as the API answers it. The page calls the same functions, in-process.

Bodies are dicts of the shape that INTERFACES gives; times are ``datetime`` in UTC. Whatever the caller may not know of
raises ``ProblemError`` with ``not_found``.
"""
