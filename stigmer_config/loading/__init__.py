"""Sources to layers to vetted to merged to resolved to Config."""
