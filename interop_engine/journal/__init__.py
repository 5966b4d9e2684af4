"""The durable journal: its contract and its adapters."""
