"""Converts JSON rows to Arrow tables: types, hashes, ids. Uses neither network nor dlt."""
