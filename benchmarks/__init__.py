"""What a sync costs, next to the tools that a user would take instead; see docs/benchmarks.md."""
