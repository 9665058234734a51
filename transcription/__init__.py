"""Text from recordings: engine, redaction, worker."""
