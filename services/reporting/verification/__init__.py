"""``verify-audit``: the audit log in the database, and exported files of it."""
