"""The benchmarks (``make bench``), compared with ceilings of the same run."""
