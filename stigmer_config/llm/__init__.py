"""From layers to the one effective LLM."""
