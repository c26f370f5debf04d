"""What a project's file, or a store without verified TLS, may set."""
