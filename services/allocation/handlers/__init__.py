"""One async function per command or event.

Each loads, decides, saves and publishes. Its transaction is the only source of time.
"""
