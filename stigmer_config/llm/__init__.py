"""Model catalogue, model strings, provider selection, and the one effective LLM."""
