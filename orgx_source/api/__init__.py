"""OrgX over HTTP: which routes exist, how their answers read, when to wait, how to page."""
