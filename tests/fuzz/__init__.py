"""Bytes nobody meant, and what every reader of foreign input must hold for them; for Hypothesis and for atheris."""
