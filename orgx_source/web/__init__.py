"""What every HTTP client of this package shares: network settings, total timeouts, and bounded response bodies."""
