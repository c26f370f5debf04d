"""Vetting, grants, locks and enforcement: what a project's file, or a store without verified TLS, may set."""
