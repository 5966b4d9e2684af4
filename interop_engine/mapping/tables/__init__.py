"""Data: HL7 tables to FHIR codes, coding systems, units and naming profiles."""
