"""Time and memory of a sync, compared with the alternatives that a user has; see docs/benchmarks.md."""
