"""What an import of definitions leaves behind: RabbitMQ adds and changes by it, and removes nothing.

Queues of another number go on filling until the disk alarm, and who is no facility any more can still log in. The commands that
put that right are an operator's to run: some lose what waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Any, Final

Definitions = Mapping[str, Sequence[Mapping[str, Any]]]

_WHY: Final = "the agreements have changed"


def changes(old: Definitions, new: Definitions) -> Iterator[str]:
    """The commands, and as comments what to see to first; nothing where nothing is left behind."""
    parts = [
        part
        for part in (
            _gone(old, new),
            _narrowed(old, new),
            _unbound(old, new),
            _queues(old, new, gone=False),
            _queues(old, new, gone=True),
        )
        if part
    ]
    if parts:
        yield "# To be run after rabbitmqctl import_definitions, in this order."
    for part in parts:
        yield ""
        yield from part


def _gone(old: Definitions, new: Definitions) -> list[str]:
    users = sorted(_names(old, "users") - _names(new, "users"))
    told = ["# No facilities any more: this ends their rights and their connections."] if users else []
    return [*told, *(f"rabbitmqctl delete_user {quote(user)}" for user in users)]


def _narrowed(old: Definitions, new: Definitions) -> list[str]:
    """Who may do less, or something else, than before: the broker looks at rights anew when a connection is."""
    staying = _names(new, "users")
    lines: list[str] = []
    for kind in ("permissions", "topic_permissions"):
        now = {(each["user"], each["vhost"]): each for each in new[kind]}
        for each in old[kind]:
            user, vhost = each["user"], each["vhost"]
            if user in staying and (user, vhost) not in now:
                lines.append(f"rabbitmqctl clear_{kind} -p {quote(vhost)} {quote(user)}")
            if user in staying and now.get((user, vhost)) != each:
                lines.append(f"rabbitmqctl close_all_user_connections {quote(user)} {quote(_WHY)}")
    told = ["# Other rights than before: connections that are open keep the old ones. Their nodes connect again by themselves."]
    return [*told, *dict.fromkeys(lines)] if lines else []


def _unbound(old: Definitions, new: Definitions) -> list[str]:
    queues = {(each["vhost"], each["name"]) for each in new["queues"]}
    kept = {_binding(each) for each in new["bindings"]}
    lines = [
        f"rabbitmqadmin -V {quote(each['vhost'])} delete binding source={quote(each['source'])} destination_type=queue"
        f" destination={quote(each['destination'])} properties_key={quote(each['routing_key'])}"
        for each in old["bindings"]
        if (each["vhost"], each["destination"]) in queues and _binding(each) not in kept
    ]
    return ["# No longer agreed: these are not delivered any more.", *lines] if lines else []


def _queues(old: Definitions, new: Definitions, *, gone: bool) -> list[str]:
    """Queues of who is ``gone``, or of another number than before. RabbitMQ deletes a quorum queue whether or not it is empty."""
    readers = {(each["vhost"], name): each["user"] for each in old["permissions"] for name in _read(old, each)}
    staying = _names(new, "users")
    kept = {(each["vhost"], each["name"]) for each in new["queues"]}
    found = [(each["vhost"], each["name"]) for each in old["queues"] if (each["vhost"], each["name"]) not in kept]
    lines = [
        f"rabbitmqctl delete_queue -p {quote(vhost)} {quote(name)}"
        for vhost, name in found
        if (readers.get((vhost, name)) not in staying) is gone
    ]
    if not lines:
        return []
    looks = [f"#   rabbitmqctl list_queues -p {quote(vhost)} name messages" for vhost in sorted({vhost for vhost, _ in found})]
    if gone:
        return ["# Of no facility any more: what waits there is lost. See what that is:", *looks, *lines]
    return [
        "# Another number of queues: only where they were drained before the import. What came since is in the new ones too;",
        "# what came before can be read by nobody now, and is lost. See that they were empty before you import:",
        *looks,
        *lines,
    ]


def _read(old: Definitions, permission: Mapping[str, Any]) -> Iterator[str]:
    pattern = re.compile(permission["read"])
    yield from (each["name"] for each in old["queues"] if each["vhost"] == permission["vhost"] and pattern.search(each["name"]))


def _names(definitions: Definitions, kind: str) -> set[str]:
    return {each["name"] for each in definitions[kind]}


def _binding(each: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return each["vhost"], each["source"], each["destination"], each["routing_key"]
