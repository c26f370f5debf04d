"""YAML text to a tree of nodes with places."""
