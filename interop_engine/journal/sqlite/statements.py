"""The SQL of the journal, by table family. Placeholders are in the order the callers bind them."""

from __future__ import annotations

from typing import Final

# --- the keys it is encrypted with ------------------------------------------------------------------------------------

KNOWS_SEALS: Final = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'seals')"
SEALS: Final = "SELECT seal FROM seals"
HOLDS: Final = "SELECT EXISTS (SELECT 1 FROM messages)"
KEEP_SEAL: Final = "INSERT INTO seals VALUES (?)"

# --- bodies -----------------------------------------------------------------------------------------------------------

LAST_BODY: Final = "SELECT ifnull(max(id), 0) FROM bodies"
ADD_BODY: Final = "INSERT INTO bodies (id, digest, size, zipped, data) VALUES (?, ?, ?, ?, ?)"

# --- messages ---------------------------------------------------------------------------------------------------------

LAST_MESSAGE: Final = "SELECT ifnull(max(seq), 0) FROM messages"
ADD_MESSAGE: Final = """
INSERT INTO messages (seq, id, channel, state, received_at, control_id, message_type, peer, media, digest, body, size, reply,
                      lanes, headers, code, why, config, duplicate_key, replay_of)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
SEND_AGAIN: Final = """
INSERT INTO messages (seq, id, channel, state, received_at, control_id, message_type, peer, media, digest, body, size, reply,
                      lanes, headers, code, why, config, duplicate_key, replay_of, only_to, through, resend)
SELECT ?, ?, channel, 'received', ?, control_id, message_type, peer, media, digest, ?, size, reply, lanes, headers, '', '',
       coalesce(nullif(?, ''), (SELECT config FROM configs ORDER BY at DESC, rowid DESC LIMIT 1), ''), duplicate_key, id, ?,
       iif(?, config, ''), ? FROM messages WHERE seq = ?"""
COPY_BODY: Final = """
INSERT INTO bodies (id, digest, size, zipped, data)
SELECT ?, b.digest, b.size, b.zipped, b.data FROM messages m JOIN bodies b ON b.id = m.body WHERE m.seq = ?"""
REPLAYED: Final = "SELECT id FROM messages WHERE replay_of = ? AND only_to = ? AND resend >= ? ORDER BY seq DESC LIMIT 1"
COPY_KEYS: Final = "INSERT INTO search_keys SELECT kind, value, ? FROM search_keys WHERE message = ?"
ADD_KEY: Final = "INSERT OR IGNORE INTO search_keys (kind, value, message) VALUES (?, ?, ?)"
FINISH_MESSAGE: Final = """
UPDATE messages SET state = ?, code = ?, why = ?, findings = ? WHERE seq = ? AND state = 'received'"""
MESSAGE_STATE: Final = "SELECT seq, channel, state, lanes, duplicate_key, digest, code, why FROM messages WHERE id = ?"
DISCARD_MESSAGE: Final = "UPDATE messages SET state = 'discarded', code = 'discarded', why = ? WHERE seq = ?"
SUPERSEDE: Final = "UPDATE messages SET state = ?, superseded_by = ? WHERE seq = ?"
DUE_MESSAGES: Final = """
SELECT seq, lanes, NULL FROM messages WHERE channel = ? AND state = 'received' AND seq > ? ORDER BY seq LIMIT ?"""
RECEIVED: Final = """
SELECT m.id, m.channel, m.media, m.received_at, m.peer, m.control_id, m.message_type, m.digest, m.lanes, m.headers,
       m.replay_of, m.only_to, m.through, m.resend, m.state, b.digest, b.size, b.zipped, b.data
FROM messages m JOIN bodies b ON b.id = m.body """
RECEIVED_BY_SEQ: Final = RECEIVED + "WHERE m.seq = ?"
RECEIVED_BY_ID: Final = RECEIVED + "WHERE m.id = ?"

# --- duplicates -------------------------------------------------------------------------------------------------------

SAME_KEY: Final = "SELECT digest, message, at FROM duplicates WHERE channel = ? AND key = ?"
FIRST: Final = """
SELECT id, reply, state, EXISTS (SELECT 1 FROM deliveries WHERE message = ?1 AND state IN ('parked', 'discarded'))
FROM messages WHERE seq = ?1"""
REMEMBER_KEY: Final = "INSERT OR REPLACE INTO duplicates (channel, key, digest, message, at) VALUES (?, ?, ?, ?, ?)"
REPOINT_KEY: Final = "UPDATE duplicates SET message = ? WHERE channel = ? AND key = ? AND message = ?"
NOTE_ARRIVAL: Final = "UPDATE messages SET arrivals = arrivals + 1 WHERE seq = ?"

# --- deliveries and attempts ------------------------------------------------------------------------------------------

LAST_DELIVERY: Final = "SELECT ifnull(max(seq), 0) FROM deliveries"
ADD_DELIVERY: Final = """
INSERT INTO deliveries (seq, id, message, channel, destination, state, lanes, body, size, digest, media, headers, created_at,
                        pack, received_at, message_type)
SELECT ?1, ?2, ?3, ?4, ?5, 'waiting', ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, received_at, message_type
FROM messages WHERE seq = ?3"""
SETTLE: Final = """
UPDATE deliveries SET state = ?, attempts = attempts + 1, due_at = ?, settled_at = ?, code = ?, why = ?
WHERE seq = ? AND state = 'waiting'"""
POSTPONE: Final = """
UPDATE deliveries SET attempts = attempts + ?, due_at = ?, code = ?, why = ? WHERE seq = ? AND state = 'waiting'"""
# Of what is there still: given up while it was being sent, it may be removed by now.
ADD_ATTEMPT: Final = """
INSERT INTO attempts (delivery, number, at, outcome, code, why, took)
SELECT seq, (SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE delivery = ?1), ?2, ?3, ?4, ?5, ?6
FROM deliveries WHERE seq = ?1"""
DELIVERY_STATE: Final = """
SELECT d.seq, d.message, d.channel, d.destination, d.state, d.lanes, d.pack, d.headers, m.id, d.due_at
FROM deliveries d JOIN messages m ON m.seq = d.message WHERE d.id = ?"""
MAKE_DUE: Final = """
UPDATE deliveries SET state = 'waiting', due_at = NULL, settled_at = NULL, attempts = 0, created_at = ? WHERE seq = ?"""
OPEN_DELIVERIES: Final = """
SELECT seq, channel, destination, state, headers, code, why FROM deliveries
WHERE message = ? AND state IN ('parked', 'waiting')"""
GIVE_UP: Final = "UPDATE deliveries SET state = 'discarded', code = ?, why = ?, due_at = NULL, settled_at = ? WHERE seq = ?"
# Parked with a time: it holds its lanes (``journal.base.HELD``).
DUE_DELIVERIES: Final = """
SELECT seq, lanes, due_at FROM deliveries WHERE channel = ?1 AND destination = ?2 AND state = 'waiting' AND seq > ?3
UNION ALL
SELECT seq, lanes, due_at FROM deliveries INDEXED BY deliveries_holding
WHERE state = 'parked' AND due_at IS NOT NULL AND channel = ?1 AND destination = ?2 AND seq > ?3
ORDER BY seq LIMIT ?4"""
HOLDING: Final = """
SELECT channel, destination, count(*) FROM deliveries INDEXED BY deliveries_holding
WHERE state = 'parked' AND due_at IS NOT NULL GROUP BY channel, destination"""
BEHIND: Final = """
SELECT w.id, m.id FROM json_each(?) q CROSS JOIN deliveries w ON w.message = q.value
CROSS JOIN deliveries h INDEXED BY deliveries_holding CROSS JOIN messages m ON m.seq = h.message
WHERE w.state = 'waiting' AND h.state = 'parked' AND h.due_at IS NOT NULL AND h.seq < w.seq AND h.channel = w.channel
  AND h.destination = w.destination
  AND EXISTS (SELECT 1 FROM json_each(w.lanes) a JOIN json_each(h.lanes) b ON a.value = b.value)
ORDER BY h.seq DESC"""
DELIVERY: Final = """
SELECT d.id, m.id, d.channel, d.destination, d.lanes, d.media, d.headers, d.attempts, d.created_at, d.state,
       b.digest, b.size, b.zipped, b.data
FROM deliveries d JOIN messages m ON m.seq = d.message JOIN bodies b ON b.id = d.body """
DELIVERY_BY_SEQ: Final = DELIVERY + "WHERE d.seq = ?"
DELIVERY_BY_ID: Final = DELIVERY + "WHERE d.id = ?"

# --- events -----------------------------------------------------------------------------------------------------------

ADD_EVENT: Final = "INSERT INTO events (at, what, message, delivery, detail) VALUES (?, ?, ?, ?, ?)"

# --- what earlier messages taught -------------------------------------------------------------------------------------

ADD_ALIAS: Final = "INSERT OR REPLACE INTO aliases (alias, object, message) VALUES (?, ?, ?)"
ADD_MERGE: Final = "INSERT OR REPLACE INTO merged (retired, survivor, message) VALUES (?, ?, ?)"
LAST_PACK: Final = "SELECT ifnull(max(id), 0) FROM packs"
ADD_PACK: Final = "INSERT INTO packs (id, states, size, data) VALUES (?, ?, ?, ?)"
PACKS: Final = "SELECT p.id, p.states, p.size, p.data FROM json_each(?) q CROSS JOIN packs p ON p.id = q.value"
PACKS_TO_INDEX: Final = "SELECT id, states, size, data FROM packs WHERE id > (SELECT pack FROM sent_indexed) ORDER BY id"
INDEX_SENT: Final = """
INSERT INTO sent_index (key, pack, older) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET
  older = ifnull(excluded.older, iif(pack <> excluded.pack, pack, older)), pack = excluded.pack"""
IS_INDEXED: Final = "SELECT pack > 0 FROM sent_indexed"
SET_INDEXED: Final = "UPDATE sent_indexed SET pack = ?"
INDEXED: Final = "SELECT i.key, i.pack, i.older FROM json_each(?) q CROSS JOIN sent_index i ON i.key = q.value"
KEEP_BEFORE: Final = "INSERT OR IGNORE INTO sent_before (key, pack) VALUES (?, ?)"
DROP_BEFORE: Final = "DELETE FROM sent_before WHERE key = ? AND pack < ?"
BEFORE: Final = """
SELECT b.key, b.pack FROM json_each(?) q CROSS JOIN sent_before b ON b.key = q.value ORDER BY b.key, b.pack"""
ALL_BEFORE: Final = "SELECT key, pack FROM sent_before"
# What has arrived does so for good: of those that are here no more, all but the ones that are out of force had arrived.
NOT_ARRIVED: Final = """
SELECT d.seq FROM json_each(?1) q CROSS JOIN deliveries d ON d.seq = q.value WHERE d.state <> 'delivered'
UNION ALL SELECT o.delivery FROM json_each(?1) q CROSS JOIN out_of_force o ON o.delivery = q.value"""
# The newest pack that the table covers stays: packs are numbered on from the last one there is.
PACKS_TO_SWEEP: Final = """
SELECT p.id, p.states, p.size, p.data FROM sent_indexed i CROSS JOIN packs p ON p.id > i.swept AND p.id < i.pack
ORDER BY p.id LIMIT ?"""
SET_SWEPT: Final = "UPDATE sent_indexed SET swept = ?"
OPEN_OF: Final = """
SELECT d.seq FROM json_each(?) q CROSS JOIN deliveries d ON d.seq = q.value WHERE d.state IN ('waiting', 'parked')"""
DROP_PACK: Final = "DELETE FROM packs WHERE id = ?"
CHANGE_PACK: Final = "UPDATE packs SET states = ?, size = ?, data = ? WHERE id = ?"
COUNT_AGAIN: Final = "DELETE FROM out_of_force WHERE delivery IN (SELECT value FROM json_each(?))"
VOID: Final = """
SELECT d.seq FROM json_each(?1) q CROSS JOIN deliveries d ON d.seq = q.value WHERE d.state IN ('parked', 'discarded')
UNION ALL SELECT o.delivery FROM json_each(?1) q CROSS JOIN out_of_force o ON o.delivery = q.value"""

# Each alias asked for, and those that go on from it after a tab.
ALIASES: Final = """
SELECT a.alias, a.object FROM json_each(?1) q CROSS JOIN aliases a ON a.alias = q.value
UNION ALL
SELECT a.alias, a.object FROM json_each(?1) q CROSS JOIN aliases a
  ON a.alias > q.value || char(9) AND a.alias < q.value || char(10)"""
ALL_MERGES: Final = "SELECT retired, survivor FROM merged LIMIT ?"
MERGES: Final = "SELECT m.retired, m.survivor FROM json_each(?) q CROSS JOIN merged m ON m.retired = q.value"
BEGIN_READING: Final = "BEGIN"
END_READING: Final = "COMMIT"

# --- counts -----------------------------------------------------------------------------------------------------------

COUNT_MESSAGES: Final = """
INSERT INTO message_counts (channel, state, n) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"""
COUNT_DELIVERIES: Final = """
INSERT INTO delivery_counts (channel, destination, state, n) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET n = n + excluded.n"""
NOTE_RECEIVED: Final = """
INSERT INTO arrivals (channel, at) VALUES (?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)"""
COUNT_UNREAD: Final = """
INSERT INTO ledger (channel, path, n) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"""
COUNT_STORED: Final = "INSERT INTO stored (channel, bytes) VALUES (?, ?) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes"
STORED: Final = "SELECT channel, bytes FROM stored"
BODY_LENGTHS: Final = "SELECT b.id, length(b.data) FROM json_each(?) q CROSS JOIN bodies b ON b.id = q.value"
MESSAGE_COUNTS: Final = "SELECT channel, state, n FROM message_counts WHERE n > 0"
DELIVERY_COUNTS: Final = "SELECT channel, destination, state, n FROM delivery_counts WHERE state IN ('waiting', 'parked')"
OLDEST_MESSAGE: Final = """
SELECT received_at FROM messages WHERE channel = ? AND state = 'received' ORDER BY seq LIMIT 1"""
OLDEST_DELIVERY: Final = """
SELECT m.received_at FROM deliveries d JOIN messages m ON m.seq = d.message
WHERE d.channel = ? AND d.destination = ? AND d.state = 'waiting' ORDER BY d.seq LIMIT 1"""
LAST_RECEIVED: Final = "SELECT channel, at FROM arrivals"
UNREAD: Final = "SELECT channel, path, n FROM ledger"

# --- receipts ---------------------------------------------------------------------------------------------------------

REPORTS: Final = """
SELECT m.seq, r.number, m.id, m.channel, m.state, m.code, m.received_at, m.headers
FROM reports r CROSS JOIN messages m ON m.seq = r.message WHERE r.number > ? ORDER BY r.number LIMIT ?"""
DROP_REPORTS: Final = "DELETE FROM reports WHERE number IN (SELECT value FROM json_each(?))"
ADDRESSED: Final = "SELECT seq FROM deliveries WHERE id = ? AND json_extract(headers, '$.receiver') = ?"
KEEP_RECEIPT: Final = """
INSERT INTO receipts (delivery, channel, number, message, state, code, taken_at, steps) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET number = excluded.number, message = excluded.message, state = excluded.state, code = excluded.code,
  taken_at = excluded.taken_at, steps = excluded.steps WHERE excluded.number >= number"""
AWAIT_NO_MORE: Final = "DELETE FROM awaited WHERE delivery = ?"
OVERDUE: Final = """
SELECT d.channel, d.destination, count(*) FROM awaited a CROSS JOIN deliveries d ON d.seq = a.delivery
WHERE a.since < ? GROUP BY d.channel, d.destination"""
RECEIPTS_OF: Final = """
SELECT d.id, r.channel, r.number, r.message, r.state, r.code, r.taken_at, r.steps
FROM deliveries d CROSS JOIN receipts r ON r.delivery = d.seq WHERE d.message = ? ORDER BY r.taken_at, r.channel"""

# --- pruning ----------------------------------------------------------------------------------------------------------

# The newest message and the newest delivery stay: row numbers are given on from theirs, and must never be given twice.
_DONE: Final = """
m.state NOT IN ('received', 'parked')
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.seq AND d.state IN ('waiting', 'parked'))
  AND m.seq < (SELECT max(seq) FROM messages) AND m.seq IS NOT (SELECT message FROM deliveries ORDER BY seq DESC LIMIT 1)"""
_OLD: Final = " FROM messages m WHERE (m.received_at, m.seq) > (?, ?) AND m.received_at < ?"
_OLDEST_FIRST: Final = " ORDER BY m.received_at, m.seq LIMIT ?"
_LOOK: Final = "SELECT m.seq, m.received_at, "
OLD: Final = _LOOK + _DONE + _OLD + _OLDEST_FIRST
OLD_OF_CHANNEL: Final = _LOOK + _DONE + _OLD + " AND m.channel = ?" + _OLDEST_FIRST
_PRUNABLE: Final = """
SELECT m.seq, m.channel, m.state, m.body, m.duplicate_key FROM json_each(?) q CROSS JOIN messages m ON m.seq = q.value WHERE """
PRUNABLE: Final = _PRUNABLE + _DONE
DELIVERIES_OF: Final = """
SELECT d.seq, d.channel, d.destination, d.state, d.body, d.pack
FROM json_each(?) q CROSS JOIN deliveries d ON d.message = q.value"""
KEEP_OUT_OF_FORCE: Final = """
INSERT OR IGNORE INTO out_of_force (delivery) SELECT ? WHERE EXISTS (SELECT 1 FROM packs WHERE id = ?)"""
DROP_ATTEMPTS: Final = "DELETE FROM attempts WHERE delivery IN (SELECT value FROM json_each(?))"
DROP_BODIES: Final = "DELETE FROM bodies WHERE id IN (SELECT value FROM json_each(?))"
DROP_DUPLICATES: Final = "DELETE FROM duplicates WHERE channel = ? AND key = ? AND message = ?"
DROP_DELIVERIES: Final = "DELETE FROM deliveries WHERE message IN (SELECT value FROM json_each(?))"
DROP_KEYS: Final = "DELETE FROM search_keys WHERE message IN (SELECT value FROM json_each(?))"
DROP_EVENTS: Final = """
DELETE FROM events WHERE message IN (SELECT value FROM json_each(?)) AND what NOT IN ('discarded', 'replayed', 'retried')"""
DROP_MESSAGES: Final = "DELETE FROM messages WHERE seq IN (SELECT value FROM json_each(?))"

# --- another set of keys ----------------------------------------------------------------------------------------------

TABLES: Final = r"SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
BUILT_ON_TABLES: Final = "SELECT sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY rowid"
COLUMNS: Final = "SELECT name FROM pragma_table_info(?)"
SEQUENCES: Final = "SELECT name, seq FROM sqlite_sequence"
DROP_SEQUENCES: Final = "DELETE FROM sqlite_sequence"
ADD_SEQUENCE: Final = "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"
USED_BODIES: Final = "SELECT count(*) FROM bodies WHERE id IN (SELECT body FROM messages UNION SELECT body FROM deliveries)"
ALL_MESSAGES: Final = "SELECT * FROM messages ORDER BY seq"
BODY: Final = "SELECT digest, size, zipped, data FROM bodies WHERE id = ?"
REPLAY_OF: Final = "SELECT replay_of FROM messages WHERE id = ?"
MADE_OF: Final = "SELECT * FROM deliveries WHERE message = ? ORDER BY seq"
ALL_ATTEMPTS: Final = """
SELECT a.*, m.id FROM attempts a JOIN deliveries d ON d.seq = a.delivery JOIN messages m ON m.seq = d.message
ORDER BY a.delivery, a.number"""
ALL_EVENTS: Final = "SELECT e.*, m.id FROM events e LEFT JOIN messages m ON m.seq = e.message ORDER BY e.id"
ALL_PACKS: Final = "SELECT * FROM packs ORDER BY id"
COVERED: Final = "SELECT pack FROM sent_indexed"

# --- configurations ---------------------------------------------------------------------------------------------------

KEEP_CONFIG: Final = """
INSERT INTO configs (config, at, data, git_commit) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at,
  git_commit = iif(git_commit = '' OR (excluded.git_commit <> '' AND excluded.git_commit NOT LIKE '%+edited'),
                   excluded.git_commit, git_commit)"""
CONFIG: Final = "SELECT data FROM configs WHERE config = ?"

# --- listings ---------------------------------------------------------------------------------------------------------

ROWS: Final = """
SELECT m.seq, m.id, m.channel, m.state, m.received_at, m.control_id, m.message_type, m.peer, m.size, m.code, m.why,
       m.replay_of, m.arrivals, m.findings, m.config,
       ifnull((SELECT git_commit FROM configs c WHERE c.config = m.config), ''), m.only_to, m.through, m.resend FROM """
NEWEST_OPEN: Final = """
SELECT DISTINCT d.received_at, d.message FROM deliveries d INDEXED BY {} WHERE {}
ORDER BY d.received_at DESC, d.message DESC LIMIT ?"""
ROW_BY_ID: Final = ROWS + "messages m WHERE m.id = ?"
ROW_BY_DELIVERY: Final = ROWS + "deliveries d CROSS JOIN messages m ON m.seq = d.message WHERE d.id = ?"
HISTORY: Final = """
SELECT e.at, e.what, e.detail, ifnull(d.id, '') FROM events e LEFT JOIN deliveries d ON d.seq = e.delivery
WHERE e.message = ? ORDER BY e.id"""
PLACE: Final = "SELECT received_at, seq FROM messages WHERE id = ?"
ROW_DELIVERIES: Final = """
SELECT d.message, d.id, d.destination, d.state, d.attempts, d.code, d.why, d.due_at, d.settled_at, d.headers, d.digest, d.size
FROM json_each(?) q CROSS JOIN deliveries d ON d.message = q.value ORDER BY d.seq"""
ATTEMPTS: Final = """
SELECT d.id, a.number, a.at, a.outcome, a.code, a.why, a.took / 1e6
FROM messages m JOIN deliveries d ON d.message = m.seq JOIN attempts a ON a.delivery = d.seq
WHERE m.id = ? ORDER BY a.at, d.seq, a.number"""
ROW_KEYS: Final = """
SELECT k.message, k.kind, k.value FROM json_each(?) q CROSS JOIN search_keys k ON k.message = q.value ORDER BY k.kind, k.value"""
