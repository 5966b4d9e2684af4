"""Data: units as laboratories write them."""
