"""Simulated hospital systems and FHIR servers, and a day in their life."""
