"""The state that running workers publish, on this machine and in a fleet."""
