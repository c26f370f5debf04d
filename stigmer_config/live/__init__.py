"""`LiveConfig`: a configuration that follows its files."""
