"""Insights: forecasts, run-outs, over- and under-used products, and a proposal.

Pure arithmetic on closed windows; the standard library only.
"""
