"""The rules of alerting, without input or output.

They define what is measured, when a threshold is crossed, and what is said. ``now`` is passed in.
"""
