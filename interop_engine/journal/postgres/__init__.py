"""The journal in a PostgreSQL database that several nodes share: lanes leased with fences, writers in turns, group commit.

schema      how a connection is opened and checked, migrations
*.sql       the tables; lanes and leases; what each job writes, as functions
statements  what is sent
jobs        what each method of the contract sends
writer      groups and commits, and the leasing for those who wait
desks       where a node's workers wait, and the leases the node has
heart       who lives, and what becomes of one who does not
listener    what other nodes announce
sessions    the connections for reading
reads       what is known, listings and content
journal     the contract, put together from the above
"""

from interop_engine.journal.postgres.journal import PostgresJournal

__all__ = ["PostgresJournal"]
