"""Paths, stable reads, atomic writes and watching. Knows nothing of configuration."""
