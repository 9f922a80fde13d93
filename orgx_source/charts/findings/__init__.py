"""What the charts show, and in which words. Plain functions on rows of a mart; nothing here draws."""
