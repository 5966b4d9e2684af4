"""What a test needs and a machine may not have: skipped at a desk, a failure in CI."""

from __future__ import annotations

import os

import pytest


def require(present: object, what: str) -> None:
    """Go on where ``present`` is true; else skip the test, or fail it where CI=true. ``what`` says what to install."""
    if present:
        return
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"needs {what}; in CI that is a failure", pytrace=False)
    pytest.skip(f"needs {what}")
