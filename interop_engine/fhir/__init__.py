"""FHIR R4, sans-IO: definitions, compiled schema, invariants, identity, bundles."""
