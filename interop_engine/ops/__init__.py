"""What an operator sees: status, metrics, the HTTP API."""
