"""What connects the configuration with the world: model clients and Ollama. Nothing here is imported by the core."""
