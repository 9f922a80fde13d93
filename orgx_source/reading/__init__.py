"""One table in one run: where to begin, what is new, what is gone, what is remembered. Sends no HTTP, writes no SQL."""
