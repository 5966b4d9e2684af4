"""The mapping language: YAML read, checked on both sides, compiled once, run purely."""
