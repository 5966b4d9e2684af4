"""interop-engine: an HL7 v2 / FHIR integration engine."""

__version__ = "0.1.0"
