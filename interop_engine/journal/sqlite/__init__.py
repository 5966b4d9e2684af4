"""The journal in one SQLite file: WAL, ``synchronous=FULL``, group commit by one writer.

schema      tables, migrations, and how a connection is opened
statements  all other SQL, by table family
codec       times, JSON and compression as the rows keep them
writer      the one thread that writes: groups, commits, checkpoints
changes     what each method of the contract writes, inside the group's transaction
learned     what earlier messages taught: aliases, merges, last-sent state, and whether a ``Known`` is still true
lanes       who may be leased next, in memory
reads       listings and content, on a connection of their own
journal     the contract, put together from the above
"""

from interop_engine.journal.sqlite.journal import SqliteJournal

__all__ = ["SqliteJournal"]
