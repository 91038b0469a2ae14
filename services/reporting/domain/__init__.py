"""What reporting works out: figures, classes, permissions. Pure functions; ``now`` is passed in."""
