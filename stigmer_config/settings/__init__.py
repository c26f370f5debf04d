"""Every setting, declared once: its type, variable, class, and JSON Schema."""
