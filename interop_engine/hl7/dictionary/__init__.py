"""HL7 v2 as tables: one canonical tree a message structure, the newest definition of each segment, field and data type."""

from interop_engine.hl7.dictionary.model import DatatypeDef, FieldDef, GroupDef, SegmentDef, SegmentRef
from interop_engine.hl7.dictionary.reader import (
    datatype,
    datatypes,
    field_datatype,
    messages_like,
    segment,
    segments,
    structure,
    structure_for,
    structures,
)

__all__ = [
    "DatatypeDef",
    "FieldDef",
    "GroupDef",
    "SegmentDef",
    "SegmentRef",
    "datatype",
    "datatypes",
    "field_datatype",
    "messages_like",
    "segment",
    "segments",
    "structure",
    "structure_for",
    "structures",
]
