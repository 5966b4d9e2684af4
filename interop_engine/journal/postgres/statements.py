"""The statements that are sent, by what they are for. What they do inside the database stands in the .sql files beside."""

from __future__ import annotations

from typing import Final

# --- a group ----------------------------------------------------------------------------------------------------------

NOTIFY: Final = "SELECT pg_notify(%s, %s)"
NOTIFY_CHANNEL: Final = "SELECT 'interop_engine_' || current_schema()"
NOTIFY_ALL: Final = "SELECT pg_notify('interop_engine_' || current_schema(), %s)"
FOLD: Final = "SELECT fold_tally()"
LEAVE_OVER: Final = "SELECT queue, wait FROM leave_over(%s, %s, %s, %s, %s, %s)"
END_LEASES: Final = "SELECT q_channel, q_destination FROM end_leases(%s, %s)"

# --- who lives --------------------------------------------------------------------------------------------------------

# True where the node is new, or was taken for dead since its last.
BEAT: Final = """
INSERT INTO nodes (node, beat) VALUES (%s, clock()) ON CONFLICT (node) DO UPDATE SET beat = excluded.beat RETURNING xmax = 0"""
# Who has the turn of all writers while his server process waits for him: that process, what of it changes with all he does, and
# whether his node has not beaten for three seconds.
TURN: Final = """
SELECT a.pid, a.backend_start, a.xact_start, a.query_start, a.state_change,
       NOT EXISTS (SELECT 1 FROM nodes n
                   WHERE 'interop-engine ' || n.node = a.application_name AND n.beat > clock() - 3000000)
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = hashtext('interop-engine')::oid
  AND l.objid = hashtext(current_schema())::oid AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND a.wait_event_type = 'Client'"""
END_CONNECTION: Final = "SELECT pg_terminate_backend(%s)"
# The database's clock, and whether it has standbys of which none is waited for.
SURROUNDINGS: Final = """
SELECT clock(), EXISTS (SELECT 1 FROM pg_stat_replication WHERE state = 'streaming')
       AND current_setting('synchronous_standby_names') = ''"""
WORKERS: Final = """
SELECT count(*) FILTER (WHERE node < %s), count(*) FILTER (WHERE node <> %s) FROM nodes WHERE beat >= clock() - %s * 1000000"""
LEAVE: Final = "DELETE FROM nodes WHERE node = %s"
ANY_DEAD: Final = "SELECT 1 FROM nodes WHERE beat < clock() - %s * 1000000 LIMIT 1"
BURY: Final = "SELECT q_channel, q_destination FROM bury(%s)"

# --- the keys it is encrypted with ------------------------------------------------------------------------------------

SEALS: Final = "SELECT seal FROM seals"
HOLDS: Final = "SELECT EXISTS (SELECT 1 FROM messages)"
KEEP_SEALS: Final = "INSERT INTO seals SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING"

# --- writing all anew with other keys ---------------------------------------------------------------------------------

TAKE_ALL_TURNS: Final = "SELECT pg_advisory_lock(hashtext('interop-engine'), hashtext(current_schema()))"
ALIVE: Final = "SELECT EXISTS (SELECT 1 FROM nodes WHERE beat >= clock() - %s * 1000000)"
TABLES: Final = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
SEQUENCES: Final = "SELECT relname::text FROM pg_class WHERE relkind = 'S' AND relnamespace = current_schema()::regnamespace"
USED_BODIES: Final = "SELECT count(*) FROM (SELECT body FROM messages UNION SELECT body FROM deliveries) used"
REPLAY_OF: Final = "SELECT replay_of FROM messages WHERE id = %s"
MADE_OF: Final = "SELECT * FROM deliveries WHERE message = %s ORDER BY seq"
BODY: Final = "SELECT digest, size, zipped, data FROM bodies WHERE id = %s"
SENT_IN: Final = "SELECT * FROM sent WHERE pack = %s ORDER BY delivery, destination, object"
ALL_ATTEMPTS: Final = """
SELECT 'attempts' AS of_table, m.id AS of_message, a.* FROM attempts a JOIN deliveries d ON d.seq = a.delivery
JOIN messages m ON m.seq = d.message"""
ALL_TALLIES: Final = "SELECT 'tally' AS of_table, t.* FROM tally t WHERE kind <> 'stored'"
ALL_EVENTS: Final = "SELECT 'events' AS of_table, m.id AS of_message, e.* FROM events e LEFT JOIN messages m ON m.seq = e.message"
FREE_SCHEMA: Final = """
SELECT of || '_before_' || n FROM (SELECT %s::text AS of) place CROSS JOIN generate_series(1, 1000) n
WHERE to_regnamespace(quote_ident(of || '_before_' || n)) IS NULL ORDER BY n LIMIT 1"""
END_OTHERS: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'interop-engine%'"""
TABLES_OF: Final = "SELECT tablename::text FROM pg_tables WHERE schemaname = %s ORDER BY 1"
# Of a schema the functions that have the name of one in another.
FUNCTIONS_OF: Final = """
SELECT f.oid::regprocedure::text FROM pg_proc f JOIN pg_namespace s ON s.oid = f.pronamespace
WHERE s.nspname = %s AND f.proname IN (
  SELECT o.proname FROM pg_proc o JOIN pg_namespace p ON p.oid = o.pronamespace WHERE p.nspname = %s)"""

# --- what is written --------------------------------------------------------------------------------------------------

# Each takes arrays: a value for each job. A row that comes back begins with the number of its job, from 1.
ACCEPT: Final = """
SELECT n, stored_id, stored_reply, duplicate, other_content FROM accept(
  %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
  %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
FORWARD: Final = """
SELECT n, said FROM unnest(forward(
  %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
  %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)) WITH ORDINALITY AS a (said, n)"""
SETTLE: Final = """
SELECT n, held FROM unnest(settle(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)) WITH ORDINALITY AS a (held, n)"""
PARK: Final = "SELECT park(%s, %s, %s, %s, %s, %s, %s)"
GIVE_BACK: Final = "SELECT give_back(%s, %s, %s, %s, 0)"
REPLAY: Final = "SELECT replay(%s, %s, %s, %s, %s, %s, %s, %s)"
RETRY: Final = "SELECT retry(%s, %s, %s)"
DISCARD: Final = "SELECT discard(%s, %s, %s, %s, %s, %s)"
PRUNE: Final = "SELECT prune(%s)"
OLDEST: Final = "SELECT oldest(%s, %s, %s)"
KEEP_CONFIG: Final = """
INSERT INTO configs AS c (config, at, data, git_commit) VALUES (%s, %s, %s, %s) ON CONFLICT (config) DO UPDATE SET
  at = excluded.at, git_commit = CASE
    WHEN c.git_commit = '' OR (excluded.git_commit <> '' AND excluded.git_commit NOT LIKE '%%+edited') THEN excluded.git_commit
    ELSE c.git_commit END"""
CONFIG: Final = "SELECT data FROM configs WHERE config = %s"

# --- receipts ---------------------------------------------------------------------------------------------------------

# One node at a time tells senders: its session holds the lock from its first page of reports until there is no more.
REPORTS: Final = """
WITH teller AS MATERIALIZED (
  SELECT pg_try_advisory_lock(hashtext('interop-engine reports'), hashtext(current_schema())) AS ours
)
SELECT m.seq, r.number, m.id, m.channel, m.state, m.code, m.received_at, m.headers
FROM teller JOIN reports r ON teller.ours JOIN messages m ON m.seq = r.message
WHERE r.number > %s ORDER BY r.number LIMIT %s"""
NO_MORE_REPORTS: Final = "SELECT pg_advisory_unlock_all()"  # a page takes the lock once more; the session has no others
DROP_REPORTS: Final = "DELETE FROM reports WHERE number = ANY (%s)"
KEEP_RECEIPTS: Final = """
WITH said AS (
  SELECT d.seq, s.*
  FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[])
    AS s (delivery, channel, number, message, state, code, taken_at, steps)
  JOIN deliveries d ON d.id = s.delivery AND d.headers::jsonb ->> 'receiver' = %s),
ended AS (DELETE FROM awaited a USING said s WHERE a.delivery = s.seq AND s.state <> 'accepted')
INSERT INTO receipts AS r (delivery, channel, number, message, state, code, taken_at, steps)
SELECT DISTINCT ON (seq, channel) seq, channel, number, message, state, code, taken_at, steps
FROM said ORDER BY seq, channel, number DESC
ON CONFLICT (delivery, channel) DO UPDATE SET number = excluded.number, message = excluded.message, state = excluded.state,
  code = excluded.code, taken_at = excluded.taken_at, steps = excluded.steps WHERE excluded.number >= r.number"""
OVERDUE: Final = """
SELECT d.channel, d.destination, count(*) FROM awaited a JOIN deliveries d ON d.seq = a.delivery
WHERE a.since < %s GROUP BY d.channel, d.destination"""
RECEIPTS_OF: Final = """
SELECT d.id, r.channel, r.number, r.message, r.state, r.code, r.taken_at, r.steps
FROM deliveries d JOIN receipts r ON r.delivery = d.seq WHERE d.message = %s ORDER BY r.taken_at, r.channel"""

# --- leases and content -----------------------------------------------------------------------------------------------

_MESSAGE: Final = """
SELECT m.id, m.channel, m.media, m.received_at, m.peer, m.control_id, m.message_type, m.digest, m.lanes, m.headers,
       m.replay_of, m.only_to, m.through, m.resend, b.digest, b.size, b.zipped, b.data"""
_DELIVERY: Final = """
SELECT d.id, m.id, d.channel, d.destination, d.lanes, d.media, d.headers, d.attempts, d.created_at,
       b.digest, b.size, b.zipped, b.data"""
_CLAIMED: Final = ", c.item_queue, c.item_seq, c.item_fence FROM claim(%s, %s, %s, %s, %s) c"
CLAIM_MESSAGES: Final = (
    _MESSAGE
    + _CLAIMED
    + " JOIN messages m ON m.seq = c.item_seq JOIN bodies b ON b.id = m.body ORDER BY c.item_queue, c.item_seq"
)
CLAIM_DELIVERIES: Final = (
    _DELIVERY
    + _CLAIMED
    + """
JOIN deliveries d ON d.seq = c.item_seq JOIN messages m ON m.seq = d.message JOIN bodies b ON b.id = d.body
ORDER BY c.item_queue, c.item_seq"""
)
MESSAGE: Final = _MESSAGE + " FROM messages m JOIN bodies b ON b.id = m.body WHERE m.id = %s"
DELIVERY: Final = (
    _DELIVERY + " FROM deliveries d JOIN messages m ON m.seq = d.message JOIN bodies b ON b.id = d.body WHERE d.id = %s"
)

# --- what is known ----------------------------------------------------------------------------------------------------

KNOWN: Final = """
SELECT kind, a, b, digest, version, rank, pack, start, length FROM known_marked(%s, %s, %s)"""
PACKS: Final = "SELECT id, size, data FROM packs WHERE id = ANY (%s)"

# --- listings ---------------------------------------------------------------------------------------------------------

ROWS: Final = """
SELECT m.seq, m.id, m.channel, m.state, m.received_at, m.control_id, m.message_type, m.peer, m.size, m.code, m.why,
       m.replay_of, m.arrivals, m.findings, m.config,
       coalesce((SELECT git_commit FROM configs c WHERE c.config = m.config), ''), m.only_to, m.through, m.resend
FROM messages m"""
_OF_OPEN: Final = """ JOIN (SELECT DISTINCT d.received_at, d.message FROM deliveries d WHERE {}
            ORDER BY d.received_at DESC, d.message DESC LIMIT %s) o ON o.message = m.seq
ORDER BY m.received_at DESC, m.seq DESC"""
ROWS_OF_OPEN: Final = ROWS + _OF_OPEN
ROW_BY_ID: Final = ROWS + " WHERE m.id = %s"
ROW_BY_DELIVERY: Final = ROWS + " JOIN deliveries d ON d.message = m.seq WHERE d.id = %s"
HISTORY: Final = """
SELECT e.at, e.what, e.detail, coalesce(d.id, '') FROM events e LEFT JOIN deliveries d ON d.seq = e.delivery
WHERE e.message = %s ORDER BY e.id"""
PLACE: Final = "SELECT received_at, seq FROM messages WHERE id = %s"
ROW_DELIVERIES: Final = """
SELECT d.message, d.id, d.destination, d.state, d.attempts, d.code, d.why, d.due_at, d.settled_at, d.headers, d.digest, d.size
FROM deliveries d WHERE d.message = ANY (%s) ORDER BY d.seq"""
HOLDING: Final = """
SELECT channel, destination, count(*) FROM deliveries WHERE state = 'parked' AND due_at IS NOT NULL
GROUP BY channel, destination"""
BEHIND: Final = """
SELECT w.id, m.id FROM deliveries w JOIN deliveries h ON h.channel = w.channel AND h.destination = w.destination
  AND h.seq < w.seq AND h.lanes && w.lanes JOIN messages m ON m.seq = h.message
WHERE w.message = ANY (%s) AND w.state = 'waiting' AND h.state = 'parked' AND h.due_at IS NOT NULL ORDER BY h.seq DESC"""
ATTEMPTS: Final = """
SELECT d.id, a.number, a.at, a.outcome, a.code, a.why, a.took / 1e6::float8
FROM messages m JOIN deliveries d ON d.message = m.seq JOIN attempts a ON a.delivery = d.seq
WHERE m.id = %s ORDER BY a.at, d.seq, a.number"""
ROW_KEYS: Final = "SELECT message, kind, value FROM search_keys WHERE message = ANY (%s) ORDER BY kind, value"
COUNTS: Final = """
SELECT kind, channel, name, state, sum(n)::bigint FROM tally WHERE kind IN ('message', 'delivery')
GROUP BY kind, channel, name, state HAVING sum(n) <> 0"""
TALLIED_QUEUES: Final = "SELECT DISTINCT kind, channel, name FROM tally WHERE kind IN ('message', 'delivery')"
OLDEST_MESSAGE: Final = """
SELECT m.received_at FROM work w JOIN messages m ON m.seq = w.seq
WHERE w.channel = %s AND w.destination = '' ORDER BY w.seq LIMIT 1"""
OLDEST_DELIVERY: Final = """
SELECT m.received_at FROM deliveries d JOIN messages m ON m.seq = d.message
WHERE d.channel = %s AND d.destination = %s AND d.state = 'waiting' ORDER BY d.seq LIMIT 1"""
STORED: Final = "SELECT channel, sum(n)::bigint FROM tally WHERE kind = 'stored' GROUP BY channel"
LAST_RECEIVED: Final = "SELECT channel, max(n)::bigint FROM tally WHERE kind = 'arrival' GROUP BY channel"
UNREAD: Final = "SELECT channel, name, sum(n)::bigint FROM tally WHERE kind = 'unread' GROUP BY channel, name"
SIZE: Final = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"""
