"""The frozen snapshot."""
