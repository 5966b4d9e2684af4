-- Content, once: a message's bytes, or the bytes several deliveries share. The digest is of the bytes before compression.
CREATE TABLE bodies (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, digest bytea NOT NULL, size integer NOT NULL, zipped integer NOT NULL,
  data bytea NOT NULL
);
ALTER TABLE bodies ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE messages (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- order of arrival
  id text COLLATE "C" NOT NULL UNIQUE, channel text NOT NULL, state text NOT NULL, received_at bigint NOT NULL,
  control_id text NOT NULL, message_type text NOT NULL, peer text NOT NULL, media text NOT NULL, digest text NOT NULL,
  body bigint NOT NULL, size integer NOT NULL, reply bytea NOT NULL, lanes text[] NOT NULL, headers text NOT NULL,
  code text NOT NULL, why text NOT NULL, findings text NOT NULL DEFAULT '[]', config text NOT NULL,
  duplicate_key text, replay_of text, superseded_by text, arrivals integer NOT NULL DEFAULT 1
) WITH (fillfactor = 85);
CREATE INDEX messages_time ON messages (received_at, seq);
CREATE INDEX messages_channel ON messages (channel, received_at);
CREATE INDEX messages_rare ON messages (state, received_at) WHERE state NOT IN ('received', 'transformed');
CREATE INDEX messages_control ON messages (control_id, received_at);

CREATE TABLE search_keys (
  kind text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL, message bigint NOT NULL, PRIMARY KEY (kind, value, message)
);
CREATE INDEX search_keys_message ON search_keys (message);

-- Every digest seen under a key, so that a resend is known again although the number was used for something else since.
CREATE TABLE duplicates (
  channel text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, digest text COLLATE "C" NOT NULL, message bigint NOT NULL,
  at bigint NOT NULL, PRIMARY KEY (channel, key, digest)
);

CREATE TABLE deliveries (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- order of arrival in the destination's queue
  id text COLLATE "C" NOT NULL UNIQUE, message bigint NOT NULL, channel text NOT NULL, destination text NOT NULL,
  state text NOT NULL, lanes text[] NOT NULL, body bigint NOT NULL, size integer NOT NULL, digest text NOT NULL,
  media text NOT NULL, headers text NOT NULL, created_at bigint NOT NULL, attempts integer NOT NULL DEFAULT 0, due_at bigint,
  settled_at bigint, code text NOT NULL DEFAULT '', why text NOT NULL DEFAULT ''
) WITH (fillfactor = 85);
CREATE INDEX deliveries_message ON deliveries (message);
CREATE INDEX deliveries_waiting ON deliveries (channel, destination, seq) WHERE state = 'waiting';
CREATE INDEX deliveries_parked ON deliveries (message) WHERE state = 'parked';

CREATE TABLE attempts (
  delivery bigint NOT NULL, number integer NOT NULL, at bigint NOT NULL, outcome text NOT NULL, code text NOT NULL,
  why text NOT NULL, PRIMARY KEY (delivery, number)
);

-- What rows do not say by themselves: operators' actions, parking, superseding, repeated arrivals.
CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at bigint NOT NULL, what text NOT NULL, message bigint NOT NULL,
  delivery bigint, detail text NOT NULL
);
CREATE INDEX events_message ON events (message);

-- What is unsettled, of all nodes: messages (destination '') and deliveries. An item that is first of each of its lanes is
-- their head, and only heads are leased. While it is leased, "fence" names the lease and "at" is when the lease ends; else
-- "at" is when the item is due. "gone": it was given up while leased, and holds its lanes until that lease ends.
CREATE TABLE work (
  channel text COLLATE "C" NOT NULL, destination text COLLATE "C" NOT NULL, seq bigint NOT NULL, lanes text[] NOT NULL,
  head boolean NOT NULL, at bigint NOT NULL, fence bigint NOT NULL DEFAULT 0, node text NOT NULL DEFAULT '',
  gone boolean NOT NULL DEFAULT false, PRIMARY KEY (channel, destination, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX work_ready ON work (channel, destination, seq, at) WHERE head AND fence = 0;
CREATE INDEX work_leased ON work (channel, destination, at) WHERE fence <> 0;
CREATE SEQUENCE fences;

-- The lanes of those items. "held": the item is the lane's head; the index says that a lane has one at most.
CREATE TABLE work_lanes (
  channel text COLLATE "C" NOT NULL, destination text COLLATE "C" NOT NULL, lane text COLLATE "C" NOT NULL, seq bigint NOT NULL,
  held boolean NOT NULL, PRIMARY KEY (channel, destination, lane, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE UNIQUE INDEX work_lanes_held ON work_lanes (channel, destination, lane) WHERE held;

CREATE TABLE aliases (alias text COLLATE "C" PRIMARY KEY, object text NOT NULL, message bigint NOT NULL);
CREATE TABLE merged (retired text COLLATE "C" PRIMARY KEY, survivor text NOT NULL, message bigint NOT NULL);

-- What destinations were sent: a state for each delivery that brings one, its content a part of the message's pack. States that a
-- delivered one has replaced are dropped.
CREATE TABLE packs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, size integer NOT NULL, data bytea NOT NULL);
ALTER TABLE packs ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE sent (
  destination text COLLATE "C" NOT NULL, object text COLLATE "C" NOT NULL, delivery bigint NOT NULL, digest text NOT NULL,
  version text NOT NULL, rank integer NOT NULL, pack bigint NOT NULL, start integer NOT NULL, length integer NOT NULL,
  PRIMARY KEY (destination, object, delivery)
);
CREATE INDEX sent_delivery ON sent (delivery);

-- Counts as differences, folded now and then: a row that every commit updated would grow a chain behind each long reader.
-- kind: message, delivery, unread (name: the path), arrival (n: the time) or stored (n: bytes).
CREATE TABLE tally (kind text NOT NULL, channel text NOT NULL, name text NOT NULL, state text NOT NULL, n bigint NOT NULL);

CREATE TABLE configs (config text PRIMARY KEY, at bigint NOT NULL, data bytea NOT NULL);
