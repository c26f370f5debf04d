"""Edits single keys of a configuration by patching its text, so that all other bytes stay the same."""
