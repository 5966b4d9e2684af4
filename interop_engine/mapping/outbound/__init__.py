"""The way back: messages of HL7 v2 made of FHIR bundles, and originals put right for a receiver."""
