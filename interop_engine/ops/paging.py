"""How many messages are listed at once: who wants more asks for the page behind."""

from typing import Final

PAGE: Final = 1_000
"""The most messages of one answer: each brings its deliveries, and all of them are in memory meanwhile."""
