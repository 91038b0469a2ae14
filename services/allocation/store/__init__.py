"""Allocation's tables: constant SQL, and rows as the domain's values.

The modules are named by table.
"""
