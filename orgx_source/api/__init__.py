"""Access to OrgX: routes, response formats, rate limits and paging."""
