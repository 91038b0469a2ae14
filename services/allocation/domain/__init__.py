"""The rules of the pool and of the people who may touch it. Pure: state and ``now`` in, a decision out."""
