"""The topology as data, in RabbitMQ's own form of it: for ``rabbitmqctl import_definitions``, or for a broker as it starts.

Each facility is a user. It may write to the one exchange, as itself and what agreements let it send; read its own queues; and
declare nothing. The broker keeps to that whatever a node does.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from interop_engine.exchange.agreements import ANY
from interop_engine.exchange.base import RECEIPT
from interop_engine.exchange.rabbitmq.topology import EXCHANGE, QUEUE_ARGUMENTS, binding_keys, queue_names, receipts_queue

if TYPE_CHECKING:
    from interop_engine.exchange.agreements import Agreements

_NOTHING: Final = "^$"
_WORD: Final = "[^.]+"


def definitions(agreements: Agreements, vhost: str, passwords: Mapping[str, str]) -> dict[str, Any]:
    """Virtual host, exchange, queues, bindings, users and rights. A user without a password cannot log in until it has one."""
    facilities = sorted(agreements.facilities)
    return {
        "vhosts": [{"name": vhost}],
        "users": [_user(name, passwords.get(name, "")) for name in facilities],
        "permissions": [_permission(agreements, name, vhost) for name in facilities],
        "topic_permissions": [_topic_permission(agreements, name, vhost) for name in facilities],
        "exchanges": [
            {
                "name": EXCHANGE,
                "vhost": vhost,
                "type": "topic",
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
        ],
        "queues": [
            {"name": queue, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": dict(QUEUE_ARGUMENTS)}
            for name in facilities
            for queue in (*queue_names(name, agreements.facilities[name].queues), receipts_queue(name))
        ],
        "bindings": [binding for name in facilities for binding in _bindings(agreements, name, vhost)],
    }


def _user(name: str, password: str) -> dict[str, Any]:
    hashed = ""
    if password:
        salt = os.urandom(4)
        hashed = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    return {"name": name, "password_hash": hashed, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": []}


def _permission(agreements: Agreements, name: str, vhost: str) -> dict[str, str]:
    count = agreements.facilities[name].queues
    own, receipts = re.escape(queue_names(name, 1)[0]), re.escape(receipts_queue(name))
    if count > 1:
        own += f"\\.[0-9]+of{count}"
    return {
        "user": name,
        "vhost": vhost,
        "configure": _NOTHING,
        "write": f"^{EXCHANGE}$",
        "read": f"^({own}|{receipts})$",
    }


def _topic_permission(agreements: Agreements, name: str, vhost: str) -> dict[str, str]:
    """What it may write: kind, itself, receiver, bucket, as agreed; and receipts to everyone."""
    agreed = {
        f"({_either(agreements.kinds if ANY in each.kinds else each.kinds)})\\.{re.escape(name)}\\.({_either(each.receivers)})"
        for each in agreements.agreements
        if ANY in each.senders or name in each.senders
    }
    every = [*sorted(agreed), f"{RECEIPT}\\.{re.escape(name)}\\.{_WORD}"]
    return {"user": name, "vhost": vhost, "exchange": EXCHANGE, "write": f"^({'|'.join(every)})\\.[0-9]+$", "read": _NOTHING}


def _bindings(agreements: Agreements, receiver: str, vhost: str) -> list[dict[str, Any]]:
    agreed = [each.kinds for each in agreements.agreements if ANY in each.receivers or receiver in each.receivers]
    named = {kind for kinds in agreed for kind in kinds}
    kinds = sorted(agreements.kinds if ANY in named else named)
    count = agreements.facilities[receiver].queues
    return [
        {
            "source": EXCHANGE,
            "vhost": vhost,
            "destination": queue,
            "destination_type": "queue",
            "routing_key": key,
            "arguments": {},
        }
        for queue, keys in (
            *((queue, binding_keys(receiver, kinds, number, count)) for number, queue in enumerate(queue_names(receiver, count))),
            (receipts_queue(receiver), binding_keys(receiver, (RECEIPT,), 0, 1)),
        )
        for key in keys
    ]


def _either(words: Iterable[str]) -> str:
    return "|".join(_WORD if word == ANY else re.escape(word) for word in sorted(words))
