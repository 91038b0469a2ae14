"""The benchmarks: ``make bench``. Each figure stands beside its ceiling of the same run."""
