"""The rules of alerting: what is measured, when a threshold is crossed, what is said. Pure; ``now`` is passed in."""
