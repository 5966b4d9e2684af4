"""A broker that goes away under load: what it must not change for senders, and what it costs. Shared with the benchmark."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit, urlunsplit

from tests.support.broker import Broker
from tests.support.proxy import FaultProxy
from tests.support.rig import KEPT, Rig, recovery


def through(proxy: FaultProxy, url: str) -> str:
    """The broker's URL by way of a proxy."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"))


async def outage(node: Rig, broker: Broker, *, rate: int, seconds: float) -> str:
    """The broker stopped for so long in the midst of so many messages a second; asserts the promise, returns the figures."""
    node.senders.rate = rate
    count = int(rate * (seconds + 10))
    sending = asyncio.create_task(node.senders.send(0, count))
    await node.recorded(rate)
    await asyncio.to_thread(broker.kill)
    stopped = time.monotonic()
    await asyncio.sleep(seconds)
    await asyncio.to_thread(broker.start)
    back = time.monotonic()
    await sending
    answered = time.monotonic()
    await node.arrived(seconds * 10 + 60)
    drained = time.monotonic()
    log = node.senders.log
    assert log.broken == 0
    assert len(log.acknowledged) == count
    assert node.record.inbox.pause_after(back) < recovery()
    assert node.verdicts() == (KEPT, KEPT)
    return (
        f"{count} messages at {rate}/s, broker away for {back - stopped:.0f} s: ACK p50 {log.percentile(50) * 1000:.0f} ms, "
        f"p99 {log.percentile(99) * 1000:.0f} ms, longest {max(log.waited) * 1000:.0f} ms; first parcel "
        f"{node.record.inbox.pause_after(back):.1f} s after its return, the last {drained - back:.0f} s after it "
        f"({drained - answered:.0f} s after the last ACK)"
    )
