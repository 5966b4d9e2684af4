"""HL7 v2, sans-IO: framing, lazy message, paths, group structure, character sets, acknowledgements."""
