"""The login to OrgX's MCP endpoint: discovery, registration, consent in a browser, storing and refreshing tokens."""
