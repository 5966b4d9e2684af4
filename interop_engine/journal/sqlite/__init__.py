"""The journal in one SQLite file: WAL, ``synchronous=FULL``, group commit by one writer.

schema      tables, migrations, and how a connection is opened
statements  all other SQL, by table family
writer      groups, commits, checkpoints; the disk is waited for in a thread
changes     what each method of the contract writes, inside the group's transaction
transaction what the jobs of a group share: row numbers, counts, and whether a ``Known`` is still true
learned     what earlier messages taught, asked and answered
sentstate   what each destination was last sent: one row a message
lanes       who may be leased next, in memory
reads       listings and content, on a connection of their own
journal     the contract, put together from the above
"""

from interop_engine.journal.sqlite.journal import SqliteJournal

__all__ = ["SqliteJournal"]
