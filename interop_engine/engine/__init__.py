"""The walk of a message: ingress, transform, delivery; channels and the runtime that puts them together."""
