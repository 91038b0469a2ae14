"""Reads, as the API answers them. The page calls the same functions in-process.

Results are frozen values or states of events; times are ``datetime`` in UTC. What the caller may not see raises
``ProblemError`` with ``not_found``, as if it did not exist.
"""
