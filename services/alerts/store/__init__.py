"""The service's tables: each statement next to the function that runs it."""
