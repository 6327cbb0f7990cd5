"""Benchmarks: each figure beside the peer and beside the raw database, in one run. Nothing here is asserted."""
