"""Tables, messages and pages that the commands print."""
