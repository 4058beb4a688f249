"""Benchmarks against other libraries, as ratios of medians within one run; see `make bench`."""
