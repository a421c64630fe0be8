"""Benchmarks: ratios from interleaved rounds, never absolute times alone."""
