"""What every room shares: values that cross borders, errors, events, diagnostics, YAML with places."""
