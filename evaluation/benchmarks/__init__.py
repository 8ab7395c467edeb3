"""Benchmarks: each measures one thing on a folder of recordings and writes its last result as a small table."""
