"""The rows of reports, a module per family; ``opening.open_source`` chooses one.

A source reads in the order of a key that rows keep, and stores only that key between two steps.
"""
