"""The stack on one machine, without Docker: real Kafka and PostgreSQL from pinned Python packages, and the demo."""
