"""Reports: their columns and parameters, said once.

Rows, files, ``GET /v1/reports`` and ``docs/reports.md`` are made from these definitions.
"""
