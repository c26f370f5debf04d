"""Reloading for one worker: caches, and the last good configuration."""
