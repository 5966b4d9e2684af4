"""Batches and files of messages: FHS, BHS, MSH…, BTS, FTS (HL7 v2 chapter 2, "Batch protocol")."""

from __future__ import annotations

import re

_START = re.compile(rb"(?:\A|(?<=[\r\n]))[ \t]*(MSH|FHS|BHS|BTS|FTS)(?![A-Za-z0-9 ])")


def split_batch(data: bytes) -> list[bytes]:
    """The messages of a batch or of a file of messages, each with its own bytes; ``[data]`` where there is but one.

    A message goes from its MSH to the next header or trailer; BTS-1 is not believed, the messages are counted.
    """
    starts = list(_START.finditer(data))
    if len(starts) <= 1:
        return [data]
    ends = [match.start() for match in starts[1:]] + [len(data)]
    return [data[match.start(1) : end] for match, end in zip(starts, ends, strict=True) if match[1] == b"MSH"]
