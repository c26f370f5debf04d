"""Finding and reading everything that becomes a layer."""
