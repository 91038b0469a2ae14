"""Exports: reports in files, made by a worker for those who requested them."""
