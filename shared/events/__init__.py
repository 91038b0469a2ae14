"""The contracts: every event and command, their envelope, and their topics."""
