"""The exchange between nodes: its contract and its adapters."""
