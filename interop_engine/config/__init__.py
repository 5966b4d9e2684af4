"""A site as its engineer writes it: engine.yaml, channels; loading and checking."""
