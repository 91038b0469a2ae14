"""The rules of the pool and of the people who may change it.

All functions are pure: they receive the state and ``now``, and return a decision.
"""
