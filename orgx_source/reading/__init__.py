"""Reads one table in one run: start, changes, deletions and state. Sends no HTTP requests and writes no SQL."""
