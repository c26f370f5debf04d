"""`load()`: from a request to layers, vetted layers and a `Config`."""
