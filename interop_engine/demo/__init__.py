"""Simulated hospital systems and FHIR servers around the real engine, and a day in their life that checks itself."""
