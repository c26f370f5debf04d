"""Everything that can be read into a layer."""
