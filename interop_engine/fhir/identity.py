"""Ids that nobody has to ask for: the same thing gets the same id on every run and on every node.

An id is a UUID version 5 (RFC 9562, section 5.5) of the project's namespace and a name joined of a scope (the facility
whose numbers the key is made of), the resource type and the key's parts. Each part is preceded by its length, so that no
two different keys join into the same name.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from functools import lru_cache

# Never change it: every id ever given out follows from it.
NAMESPACE = uuid.UUID("6f0d7c1e-5b0a-4c64-9d0e-3f2a8c1b7e55")

_SEED = NAMESPACE.bytes
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def resource_id(scope: str, type_: str, key: Sequence[str]) -> str:
    """The id of the resource of a type that ``key`` names within ``scope``. Parts are taken as they are (NFC, trimmed)."""
    hashed = _begun(scope, type_).copy()
    hashed.update("".join([f"{len(part)}:{part}" for part in key]).encode())
    digest = hashed.hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{_VARIANT[digest[16]]}{digest[17:20]}-{digest[20:32]}"


@lru_cache(maxsize=1024)
def _begun(scope: str, type_: str) -> hashlib._Hash:
    """What all names of a type in a scope begin with, hashed."""
    return hashlib.sha1(_SEED + f"{len(scope)}:{scope}{len(type_)}:{type_}".encode(), usedforsecurity=False)


def occurrence(key: Sequence[str], number: int) -> tuple[str, ...]:
    """The key of the so manieth thing, from 1, of several with an equal one."""
    return tuple(key) if number == 1 else (*key, f"#{number}")


def provenance_id(scope: str, source_digest: str, mapping_digest: str) -> str:
    """The id of the Provenance of one source message through one version of a mapping: a resend writes the same one."""
    return resource_id(scope, "Provenance", (source_digest, mapping_digest))
