"""Sources and destinations: MLLP, files, FHIR REST, the exchange."""
