-- What operators do, and what is removed when it is old.

-- What a delivery's destination is called where one is replayed to: by its name, and with its receiver.
CREATE OR REPLACE FUNCTION names(p_destination text, p_headers text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT ARRAY[p_destination, concat_ws('/', p_destination, p_headers::json ->> 'receiver')]
$$;

-- Write a message again, for one destination ("p_only") or all, under the configuration "p_config" or ('') that kept last.
CREATE OR REPLACE FUNCTION receive_again(
  item messages, p_new text, p_config text, p_only text, p_then boolean, p_resend boolean, p_now bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  made bigint;
  copy bigint;
  stored bigint;
BEGIN
  INSERT INTO bodies (digest, size, zipped, data) SELECT digest, size, zipped, data FROM bodies WHERE id = item.body
    RETURNING id, length(data) INTO copy, stored;
  INSERT INTO tally VALUES ('stored', item.channel, '', '', stored);
  INSERT INTO messages (id, channel, state, received_at, control_id, message_type, peer, media, digest, body, size, reply,
                        lanes, headers, code, why, config, duplicate_key, replay_of, only_to, through, resend)
    VALUES (p_new, item.channel, 'received', p_now, item.control_id, item.message_type, item.peer, item.media, item.digest,
            copy, item.size, item.reply, item.lanes, item.headers, '', '',
            coalesce(nullif(p_config, ''), (SELECT config FROM configs ORDER BY at DESC LIMIT 1), ''), item.duplicate_key,
            item.id, p_only, CASE WHEN p_then THEN item.config ELSE '' END, p_resend)
    RETURNING seq INTO made;
  INSERT INTO search_keys SELECT kind, value, made FROM search_keys WHERE message = item.seq;
  PERFORM count_message(item.channel, 'received', 1);
  INSERT INTO events (at, what, message, detail) VALUES (p_now, 'replayed', item.seq, rtrim(p_new || ' ' || p_only));
  PERFORM enqueue(ARRAY[item.channel], '{""}', ARRAY[made], ARRAY[item.lanes::text]);
  RETURN made;
END $$;

-- Receive a message again; returns its channel and the new one's id, nothing where there is no such message. Where it is for all
-- destinations, it stands in the duplicate table where the old one stood.
CREATE OR REPLACE FUNCTION replay(
  p_old text, p_new text, p_config text, p_only text, p_then boolean, p_resend boolean, p_once boolean, p_now bigint
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  item messages;
  made bigint;
  there text;
BEGIN
  SELECT * INTO item FROM messages WHERE id = p_old;
  IF NOT FOUND THEN RETURN NULL; END IF;
  IF p_once THEN
    SELECT id INTO there FROM messages WHERE replay_of = p_old AND only_to = p_only AND resend >= p_resend ORDER BY seq DESC LIMIT 1;
    IF FOUND THEN RETURN ARRAY[item.channel, there]; END IF;
  END IF;
  made := receive_again(item, p_new, p_config, p_only, p_then, p_resend, p_now);
  IF p_only = '' THEN
    PERFORM supersede(item.seq, p_new, p_now);
    UPDATE duplicates SET message = made WHERE channel = item.channel AND key = item.duplicate_key AND message = item.seq;
  ELSE
    PERFORM give_up_one(d, 'superseded', 'superseded by ' || p_new, p_now) FROM deliveries d
      WHERE d.message = item.seq AND d.state = 'parked' AND p_only = ANY (names(d.destination, d.headers));
  END IF;
  RETURN ARRAY[item.channel, p_new];
END $$;

-- Whether a later delivery that counts brought one of the objects that this one carries.
CREATE OR REPLACE FUNCTION overtaken(p_seq bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (
    SELECT 1 FROM sent mine JOIN sent later ON later.destination = mine.destination AND later.object = mine.object
    WHERE mine.delivery = p_seq AND later.delivery > p_seq
      AND coalesce((SELECT d.state FROM deliveries d WHERE d.seq = later.delivery), 'pruned') NOT IN ('parked', 'discarded'))
$$;

-- Make a parked or waiting delivery due now; returns its channel, destination and the state it was in ('overtaken' where it was
-- parked and is given up now, and its message received again as "p_new").
CREATE OR REPLACE FUNCTION retry(p_delivery text, p_new text, p_now bigint) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  item deliveries;
  of messages;
BEGIN
  SELECT * INTO item FROM deliveries WHERE id = p_delivery;
  IF NOT FOUND THEN RETURN NULL; END IF;
  IF item.state = 'parked' AND item.due_at IS NULL AND overtaken(item.seq) THEN  -- nothing passed one that holds its lanes
    INSERT INTO events (at, what, message, delivery, detail) VALUES (p_now, 'retried', item.message, item.seq, '');
    PERFORM give_up_one(item, 'overtaken',
      'Something newer of what it carries was sent since: its message was received again, as ' || p_new || '.', p_now);
    SELECT * INTO of FROM messages WHERE seq = item.message;
    PERFORM receive_again(of, p_new, '', (names(item.destination, item.headers))[2], false, false, p_now);
    RETURN ARRAY[item.channel, item.destination, 'overtaken'];
  END IF;
  IF item.state IN ('parked', 'waiting') THEN
    UPDATE deliveries SET state = 'waiting', due_at = NULL, settled_at = NULL, attempts = 0, created_at = p_now
      WHERE seq = item.seq;
    INSERT INTO events (at, what, message, delivery, detail) VALUES (p_now, 'retried', item.message, item.seq, '');
  END IF;
  IF item.state = 'parked' THEN
    PERFORM count_delivery(item.channel, item.destination, 'parked', -1);
    PERFORM count_delivery(item.channel, item.destination, 'waiting', 1);
  END IF;
  IF item.state = 'parked' AND item.due_at IS NULL THEN
    PERFORM enqueue(ARRAY[item.channel], ARRAY[item.destination], ARRAY[item.seq], ARRAY[item.lanes::text]);
    PERFORM promote(item.channel, item.destination, item.lanes);
  ELSE
    UPDATE work SET at = 0
      WHERE channel = item.channel AND destination = item.destination AND seq = item.seq AND fence = 0;
  END IF;
  RETURN ARRAY[item.channel, item.destination, item.state];
END $$;

-- What an operator said of something that is given up, and why it parked or waited.
CREATE OR REPLACE FUNCTION reason(p_why text, p_state text, p_code text, p_before text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT p_why || CASE WHEN p_code || p_before = '' THEN ''
                       ELSE ' (' || p_state || ' before: ' || btrim(p_code || ' ' || p_before) || ')' END
$$;

-- Give up a parked message, or its deliveries that are in "p_states", of a destination ("p_to") and with a code, or any (''). Returns
-- its channel and the destinations that go on; an empty array where nothing was to be given up.
CREATE OR REPLACE FUNCTION discard(p_message text, p_why text, p_to text, p_code text, p_states text[], p_now bigint)
RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  item messages;
  each deliveries;
  gone text[] := '{}';
BEGIN
  SELECT * INTO item FROM messages WHERE id = p_message;
  IF NOT FOUND THEN RETURN NULL; END IF;
  IF item.state = 'parked' AND p_to = '' AND p_code IN ('', item.code) THEN
    UPDATE messages SET state = 'discarded', code = 'discarded', why = reason(p_why, item.state, item.code, item.why)
      WHERE seq = item.seq;
    PERFORM count_message(item.channel, 'parked', -1);
    PERFORM count_message(item.channel, 'discarded', 1);
    gone := ARRAY[item.channel];
  END IF;
  FOR each IN SELECT * FROM deliveries d
    WHERE d.message = item.seq AND d.state = ANY (p_states) AND p_code IN ('', d.code)
      AND (p_to = '' OR p_to = ANY (names(d.destination, d.headers))) ORDER BY d.seq
  LOOP
    PERFORM give_up_one(each, 'discarded', reason(p_why, each.state, each.code, each.why), p_now);
    gone := (CASE WHEN gone = '{}' THEN ARRAY[item.channel] ELSE gone END) || each.destination;
  END LOOP;
  IF gone <> '{}' THEN
    INSERT INTO events (at, what, message, detail) VALUES (p_now, 'discarded', item.seq, p_why);
  END IF;
  RETURN gone;
END $$;

-- Whether a message is done, and may go. The newest and that of the newest delivery may not, as in a file, where row numbers go on
-- from theirs.
CREATE OR REPLACE FUNCTION may_go(m messages) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT m.state NOT IN ('received', 'parked')
    AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.seq AND d.state IN ('waiting', 'parked'))
    AND m.seq < (SELECT max(seq) FROM messages)
    AND m.seq IS DISTINCT FROM (SELECT d.message FROM deliveries d ORDER BY d.seq DESC LIMIT 1)
    AND NOT EXISTS (SELECT 1 FROM work w WHERE w.channel = m.channel AND w.destination = '' AND w.seq = m.seq)
$$;

-- The oldest messages that may go, received before "p_before", of a channel or all. Read in the order of an index, so that it ends
-- with the last that is wanted; of a channel in that of its own (an equation would let the planner go through all others too).
CREATE OR REPLACE FUNCTION oldest(p_before bigint, p_channel text, p_most bigint) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
BEGIN
  IF p_channel IS NULL THEN
    RETURN QUERY SELECT m.seq FROM messages m WHERE m.received_at < p_before AND may_go(m)
      ORDER BY m.received_at, m.seq LIMIT p_most;
  ELSE
    RETURN QUERY SELECT m.seq FROM messages m
      WHERE m.channel BETWEEN p_channel AND p_channel AND m.received_at < p_before AND may_go(m)
      ORDER BY m.channel, m.received_at LIMIT p_most;
  END IF;
END $$;

-- Remove those of these messages that may go still; returns how many. They are chosen before, by who does not hold the turn. What
-- a discarded delivery brought goes with it; what others brought stays.
CREATE OR REPLACE FUNCTION prune(p_chosen bigint[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  old bigint[] := ARRAY(SELECT m.seq FROM messages m WHERE m.seq = ANY (p_chosen) AND may_go(m));
  gone bigint[] := ARRAY(SELECT d.seq FROM deliveries d WHERE d.message = ANY (old));
  left_behind bigint[];
BEGIN
  PERFORM count_message(m.channel, m.state, -1) FROM messages m WHERE m.seq = ANY (old);
  PERFORM count_delivery(d.channel, d.destination, d.state, -1) FROM deliveries d WHERE d.seq = ANY (gone);
  WITH dropped AS (
    DELETE FROM sent s USING deliveries d WHERE d.seq = ANY (gone) AND d.state = 'discarded' AND s.delivery = d.seq RETURNING s.pack)
  SELECT array_agg(DISTINCT pack) INTO left_behind FROM dropped;
  PERFORM drop_packs(left_behind);
  DELETE FROM attempts a WHERE a.delivery = ANY (gone);
  INSERT INTO tally SELECT 'stored', used.channel, '', '', -sum(length(b.data))
    FROM (SELECT m.channel, m.body FROM messages m WHERE m.seq = ANY (old)
          UNION SELECT d.channel, d.body FROM deliveries d WHERE d.seq = ANY (gone)) used JOIN bodies b ON b.id = used.body
    GROUP BY used.channel;
  DELETE FROM bodies b WHERE b.id IN (
    SELECT m.body FROM messages m WHERE m.seq = ANY (old) UNION SELECT d.body FROM deliveries d WHERE d.seq = ANY (gone));
  DELETE FROM duplicates u USING messages m
    WHERE m.seq = ANY (old) AND u.channel = m.channel AND u.key = m.duplicate_key AND u.message = m.seq;
  DELETE FROM deliveries d WHERE d.seq = ANY (gone);
  DELETE FROM search_keys k WHERE k.message = ANY (old);
  DELETE FROM events e WHERE e.message = ANY (old) AND e.what NOT IN ('discarded', 'replayed', 'retried');
  DELETE FROM messages m WHERE m.seq = ANY (old);
  RETURN cardinality(old);
END $$;
