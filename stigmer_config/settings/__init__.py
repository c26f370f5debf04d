"""The declaration of every key: type, range, documentation, variable, access, reload."""
