"""`Config` and its sections: frozen, hashable, typed."""
