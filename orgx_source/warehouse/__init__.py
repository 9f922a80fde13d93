"""Access to the warehouse: the dataset, through dlt, and the DuckDB file. Independent of OrgX's API."""
