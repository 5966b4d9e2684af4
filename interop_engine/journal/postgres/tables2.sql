ALTER TABLE messages
  ADD COLUMN only_to text NOT NULL DEFAULT '',  -- of a replay: the one destination it is for
  ADD COLUMN through text NOT NULL DEFAULT '';  -- of a replay: the configuration that maps it, '' for today's
ALTER TABLE configs ADD COLUMN git_commit text NOT NULL DEFAULT '';
CREATE INDEX messages_replays ON messages (replay_of) WHERE replay_of IS NOT NULL;
CREATE INDEX messages_type ON messages (message_type, received_at);

-- The nodes that live, and when each last said so (microseconds, by the database's clock).
CREATE TABLE nodes (node text COLLATE "C" PRIMARY KEY, beat bigint NOT NULL);

-- A replay has a body of its own, so that its message can be pruned without it.
CREATE TEMP TABLE own ON COMMIT DROP AS
  SELECT seq, body, nextval(pg_get_serial_sequence('bodies', 'id')) AS copy FROM messages WHERE replay_of IS NOT NULL;
INSERT INTO bodies OVERRIDING SYSTEM VALUE
  SELECT own.copy, b.digest, b.size, b.zipped, b.data FROM own JOIN bodies b ON b.id = own.body;
UPDATE messages SET body = own.copy FROM own WHERE own.seq = messages.seq;

DROP FUNCTION IF EXISTS replay(text, text, text, bigint);
DROP FUNCTION IF EXISTS retry(text, bigint);
