"""What every package uses: environment, provenance, problems, secrets and the merge."""
