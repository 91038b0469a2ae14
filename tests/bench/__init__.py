"""The benchmarks: ``make bench``. Each figure is compared with a ceiling measured in the same run."""
