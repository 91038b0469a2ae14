"""The computations of reporting: figures, classes, permissions.

Pure; ``now`` is passed in.
"""
