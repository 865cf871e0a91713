"""Linux mechanisms, one noun per file. Knows nothing of the platform."""
