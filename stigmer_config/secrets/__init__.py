"""References to secrets, secret commands, and keeping secrets out of logs."""
