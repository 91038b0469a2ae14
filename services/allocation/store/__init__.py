"""Allocation's tables: constant SQL, and rows as the domain's values. Named by table."""
