"""Parsing YAML into nodes with their places."""
