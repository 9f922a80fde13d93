"""What is stored: the dataset, asked through dlt, and the DuckDB file. Knows nothing of OrgX's API."""
