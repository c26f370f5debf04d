"""The words that every stage speaks: environment, origins, problems, secrets, and the merge."""
