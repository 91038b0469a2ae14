"""The formats of exported files.

Only the worker imports them, as their libraries are large.
"""
