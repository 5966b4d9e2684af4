"""What the program says where a verb fails by a fault of ours."""

from __future__ import annotations

import pytest

from interop_engine.cli import app

CONTENT = "Nguyễn Ánh"


def test_a_fault_of_ours_is_one_line_without_what_it_was_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its kind and place, to be reported; a traceback, and an exception's words, may hold content of a message."""
    monkeypatch.setattr(app, "app", lambda: {}[CONTENT])
    with pytest.raises(SystemExit) as ended:
        app.run()
    said = capsys.readouterr().err
    assert (ended.value.code, CONTENT in said, "Traceback" in said) == (1, False, False)
    assert "error: this is a fault of interop-engine: KeyError at test_cli_app.py:" in said
