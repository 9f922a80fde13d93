"""JSON rows to Arrow tables: types, hashes, ids. Touches neither network nor dlt."""
