"""Model clients, Ollama, and the checks of `doctor`. Imported on first use only."""
