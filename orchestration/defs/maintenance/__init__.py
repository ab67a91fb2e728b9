"""What keeps the platform tidy: nightly sweep, lake maintenance, retention of Dagster's own storage."""
