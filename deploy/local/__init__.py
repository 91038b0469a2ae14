"""The local stack: the whole system on one machine without Docker, and the demo.

Kafka and PostgreSQL are real servers from pinned Python packages.
"""
