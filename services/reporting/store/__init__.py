"""SQL of the read models, the commands and the audit log, a file per table."""
