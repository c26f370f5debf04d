"""Paths, stable reads, atomic writes and watching. Independent of configuration."""
