"""The login for OrgX's MCP door: discovery, registration, consent in a browser, tokens that are kept and renewed."""
