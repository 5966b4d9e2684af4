"""The mappings of the way back, checked and compiled with the site's others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from interop_engine.mapping.lowering import Site
from interop_engine.mapping.outbound.corrections import Correction, compile_correction
from interop_engine.mapping.outbound.language import CorrectionFile, MessageFile
from interop_engine.mapping.outbound.program import MessageProgram
from interop_engine.mapping.outbound.shape import prove
from interop_engine.mapping.resolve import Report

Outbound = MessageProgram | Correction


def compile_outbound(
    files: Mapping[str, MessageFile | CorrectionFile], texts: Mapping[str, str], site: Site, report: Report
) -> dict[str, Outbound]:
    """Every mapping that makes messages. One with a mistake is left out; what is wrong is in the report."""
    found = {name: _compiled(file, texts[file.mark.file], site, report) for name, file in files.items()}
    broken = {mistake.mark.file for mistake in report.mistakes if mistake.severity == "error"}
    return {name: made for name, made in found.items() if made is not None and made.mark.file not in broken}


def _compiled(file: MessageFile | CorrectionFile, text: str, site: Site, report: Report) -> Outbound | None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    if isinstance(file, CorrectionFile):
        return compile_correction(file, site, report, digest)
    proven = prove(file, report)
    return None if proven is None else MessageProgram(file.name, file.to.text, proven[1], proven[0], digest, file.mark)
