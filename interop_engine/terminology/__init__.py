"""Concept maps, units and the worklist of unmapped codes, sans-IO."""
