"""What a project (or an unverified store) may not do."""
