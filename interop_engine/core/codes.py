"""Every code that a mistake in a site's files may have, in one place. A code is never given a second meaning.

The first letter tells where it is found: Y the YAML itself, C engine.yaml and channels, M mappings, T tables and test cases.
"""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[str, str] = {
    # YAML
    "Y001": "The file is not readable as YAML.",
    "Y002": "A key stands twice.",
    "Y003": "An anchor (&name) or alias (*name) is not allowed: the value is to be written out.",
    "Y004": "A tag (!name) is not allowed: every scalar is text.",
    "Y005": "The file is nested too deeply.",
    "Y006": "A key is not plain text.",
    # The site and its channels
    "C100": "There is no engine.yaml in the folder.",
    "C101": "A key is not known here.",
    "C102": "A key that is needed is missing.",
    "C103": "A value does not fit its key.",
    "C104": "The file is empty, or not UTF-8.",
    "C105": "There is no naming profile of that name.",
    "C106": "A variable is not set, or a file it names cannot be read.",
    "C107": "There is no such connector, or not exactly one is named.",
    "C108": "The site has no channels.",
    "C109": "A name stands twice.",
    "C110": "A port is taken already.",
    "C111": "There is no mapping of that name.",
    "C112": "The channel does not say what happens to messages it does not accept.",
    "C113": "The channel accepts a message that none of its mappings takes.",
    "C114": "No channel uses the mapping.",
    "C115": "Nobody receives what is sent.",
    "C116": "There is no dialect of that name.",
    "C120": "A condition or a receiver is not an expression.",
    "C121": "There is no such segment or field.",
    "C122": "A channel has no such function, table or resource.",
    "C123": "A pattern is not a regular expression of RE2.",
    # Mappings: their form
    "M100": "A key is not known here.",
    "M101": "An expression cannot be read.",
    "M102": "A condition cannot be read.",
    "M103": "A key that is needed is missing or empty.",
    "M104": "A value does not fit its key.",
    "M105": "Two keys exclude each other.",
    "M106": "YAML split an expression at a comma.",
    "M107": "A line of a dialect's lens is not FIELD := EXPRESSION.",
    # Mappings: names
    "M200": "There is no such message structure.",
    "M201": "There is no such segment.",
    "M202": "There is no such group.",
    "M203": "There is no such field.",
    "M204": "There is no such FHIR element, or the engine writes it.",
    "M205": "There is no such component.",
    "M206": "There is no such FHIR type.",
    "M207": "There is no such function or fragment.",
    "M208": "There is no such resource in the mapping.",
    "M209": "There is no such file of fragments.",
    "M210": "The mapping that is extended is not there, or extends itself.",
    "M211": "There is no such HL7 v2 data type.",
    "M212": "A relative path has nothing that it is relative to.",
    "M213": "A name stands twice.",
    "M214": "The structure has no such trigger event.",
    # Mappings: types
    "M301": "Something may repeat where one value is taken.",
    "M302": "A data type does not convert to the element's type.",
    "M303": "A literal is not of the element's type.",
    "M304": "A required element is set by nothing.",
    "M305": "A required element may stay empty.",
    "M306": "A function takes other arguments.",
    "M307": "A function or a reference stands where it does not fit.",
    "M308": "An element is set twice.",
    "M309": "An element has several types, and nothing says which.",
    # Mappings: groups, references, keys
    "M401": "A path goes into a repeating group, and nothing says which.",
    "M402": "The element may not refer to that type.",
    "M403": "A resource has no key.",
    "M404": "A key cannot be made of that.",
    "M405": "A merge joins something other than two patients.",
    "M406": "A union names an element that is no list.",
    # Mappings: codes
    "M501": "There is no such table.",
    "M502": "There is no such concept map.",
    "M503": "A table gives a code that the element does not take.",
    "M504": "There is no such code system.",
    "M505": "No table turns the field's codes into those the element requires.",
    # Concept maps
    "T001": "A column is not known.",
    "T002": "A column that is needed is missing.",
    "T003": "A row lacks a value.",
    "T004": "A code system is neither a URI nor a known alias.",
    "T005": "The file is not a FHIR ConceptMap in JSON.",
    "T006": "A code table has no codes, or a code has not one target.",
    "T007": "A key is not known in a code table.",
    # Test cases
    "T101": "The cases are for a mapping that is not there.",
    "T102": "A case lacks its name or its input.",
    "T103": "A key is not known in a case.",
}
