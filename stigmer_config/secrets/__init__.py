"""Secrets that stand elsewhere, and secrets kept out of logs."""
