"""LiveConfig."""
