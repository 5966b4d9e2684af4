"""Finds a message by whatever id somebody has of it: a log, a receiver and another node each have their own."""

from __future__ import annotations

from typing import Final, Protocol

from interop_engine.core.errors import UnknownItem
from interop_engine.journal.base import MessageRow, Selection

PARCEL: Final = "parcel"
"""The kind of search key that holds the id of the delivery by which another node sent a message."""


class Listing(Protocol):
    """What is looked in: a journal, or an engine that has one."""

    async def search(self, selection: Selection) -> list[MessageRow]:
        """List messages, newest first."""
        ...

    async def show(self, message_id: str) -> MessageRow:
        """One message with its deliveries, by its id or that of a delivery."""
        ...


async def show(listing: Listing, id_: str) -> MessageRow:
    """The message with an id, with a delivery of that id, or that another node sent by one. Raises UnknownItem.

    One that was received again is shown as it was last.
    """
    try:
        return await listing.show(id_)
    except UnknownItem:
        if rows := await listing.search(Selection(search=((PARCEL, id_),), limit=1)):
            return await listing.show(rows[0].id)
        raise
