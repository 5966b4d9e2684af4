-- What one job of a group writes, and what is known. See lanes.sql for who else may write meanwhile: nobody.

-- --- messages ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION count_message(p_channel text, p_state text, p_n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO tally VALUES ('message', p_channel, '', p_state, p_n);
END $$;

CREATE OR REPLACE FUNCTION count_delivery(p_channel text, p_destination text, p_state text, p_n bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO tally VALUES ('delivery', p_channel, p_destination, p_state, p_n);
END $$;

-- Discard an open delivery.
CREATE OR REPLACE FUNCTION give_up_one(item deliveries, p_code text, p_why text, p_now bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE deliveries SET state = 'discarded', code = p_code, why = p_why, due_at = NULL, settled_at = p_now WHERE seq = item.seq;
  PERFORM count_delivery(item.channel, item.destination, item.state, -1);
  PERFORM count_delivery(item.channel, item.destination, 'discarded', 1);
  PERFORM abandon(item.channel, item.destination, item.seq);
END $$;

-- Give up what is open (or only parked) of a message's deliveries; names the queues that go on by it.
CREATE OR REPLACE FUNCTION give_up(p_message bigint, p_states text[], p_code text, p_why text, p_now bigint)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  each deliveries;
BEGIN
  FOR each IN SELECT * FROM deliveries d WHERE d.message = p_message AND d.state = ANY (p_states) ORDER BY d.seq LOOP
    PERFORM give_up_one(each, p_code, p_why, p_now);
    RETURN NEXT each.destination;
  END LOOP;
END $$;

-- A parked message, or one with parked deliveries, is superseded; a rejected or discarded one only cites its successor.
CREATE OR REPLACE FUNCTION supersede(p_seq bigint, p_by text, p_now bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  old messages;
  given_up text[] := ARRAY(SELECT give_up(p_seq, '{parked}', 'superseded', 'superseded by ' || p_by, p_now));
BEGIN
  SELECT * INTO old FROM messages WHERE seq = p_seq;
  IF old.state <> 'superseded' AND (given_up <> '{}' OR old.state = 'parked') THEN
    PERFORM count_message(old.channel, old.state, -1);
    PERFORM count_message(old.channel, 'superseded', 1);
    UPDATE messages SET state = 'superseded' WHERE seq = p_seq;
  END IF;
  UPDATE messages SET superseded_by = p_by WHERE seq = p_seq;
  INSERT INTO events (at, what, message, detail) VALUES (p_now, 'superseded', p_seq, p_by);
END $$;

-- So many new numbers of a table's rows.
CREATE OR REPLACE FUNCTION numbers(p_table text, p_column text, p_count integer) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  source regclass := pg_get_serial_sequence(p_table, p_column);
BEGIN
  RETURN ARRAY(SELECT nextval(source) FROM generate_series(1, p_count));
END $$;

-- What messages are found by; "p_kinds", "p_values": an array literal for each.
CREATE OR REPLACE FUNCTION add_keys(p_messages bigint[], p_kinds text[], p_values text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO search_keys (kind, value, message)
    SELECT key.kind, key.value, m.seq FROM unnest(p_messages, p_kinds, p_values) AS m (seq, kinds, vals)
    CROSS JOIN LATERAL unnest(m.kinds::text[], m.vals::text[]) AS key (kind, value) WHERE m.seq IS NOT NULL
    ON CONFLICT DO NOTHING;
END $$;

-- Write messages, or find that they came before (at "p_oldest" or later); "n": which, from 1. Several whose keys are all new are
-- written together, else each by itself. "p_lanes", "p_kinds", "p_values": an array literal for each.
CREATE OR REPLACE FUNCTION accept(
  p_id text[], p_channel text[], p_state text[], p_received_at bigint[], p_control_id text[], p_message_type text[], p_peer text[],
  p_media text[], p_digest text[], p_size bigint[], p_reply bytea[], p_lanes text[], p_headers text[], p_code text[], p_why text[],
  p_config text[], p_key text[], p_replay_of text[], p_body_digest bytea[], p_zipped bigint[], p_data bytea[], p_kinds text[],
  p_values text[], p_oldest bigint[], p_now bigint[]
) RETURNS TABLE (n integer, stored_id text, stored_reply bytea, duplicate boolean, other_content boolean) LANGUAGE plpgsql AS $$
DECLARE
  many integer := cardinality(p_id);
  earlier bigint;
  was messages;
  made bigint[];
  bodies_made bigint[];
BEGIN
  IF many > 1 AND EXISTS (
    SELECT 1 FROM unnest(p_channel, p_key) AS i (channel, key) LEFT JOIN LATERAL (
      SELECT 1 AS is FROM duplicates d WHERE d.channel = i.channel AND d.key = i.key LIMIT 1) known ON true
    WHERE i.key IS NOT NULL GROUP BY i.channel, i.key HAVING count(*) > 1 OR count(known.is) > 0)
  THEN
    FOR i IN 1 .. many LOOP
      RETURN QUERY SELECT i, one.stored_id, one.stored_reply, one.duplicate, one.other_content FROM accept(
        p_id[i:i], p_channel[i:i], p_state[i:i], p_received_at[i:i], p_control_id[i:i], p_message_type[i:i], p_peer[i:i],
        p_media[i:i], p_digest[i:i], p_size[i:i], p_reply[i:i], p_lanes[i:i], p_headers[i:i], p_code[i:i], p_why[i:i],
        p_config[i:i], p_key[i:i], p_replay_of[i:i], p_body_digest[i:i], p_zipped[i:i], p_data[i:i], p_kinds[i:i],
        p_values[i:i], p_oldest[i:i], p_now[i:i]) one;
    END LOOP;
    RETURN;
  END IF;
  INSERT INTO tally SELECT 'arrival', i.channel, '', '', max(i.at) FROM unnest(p_channel, p_received_at) AS i (channel, at)
    GROUP BY i.channel;
  duplicate := false;
  other_content := false;
  IF many = 1 AND p_key[1] IS NOT NULL THEN
    SELECT d.message INTO earlier FROM duplicates d
      WHERE d.channel = p_channel[1] AND d.key = p_key[1] AND d.digest = p_digest[1] AND d.at >= p_oldest[1];
    IF FOUND THEN
      SELECT * INTO was FROM messages WHERE seq = earlier;
      IF was.state NOT IN ('rejected', 'parked', 'discarded', 'superseded') AND NOT EXISTS (
        SELECT 1 FROM deliveries d WHERE d.message = earlier AND d.state IN ('parked', 'discarded'))
      THEN
        UPDATE messages SET arrivals = arrivals + 1 WHERE seq = earlier;
        RETURN QUERY SELECT 1, was.id, was.reply, true, false;
        RETURN;
      END IF;
    ELSE
      other_content := EXISTS (
        SELECT 1 FROM duplicates d WHERE d.channel = p_channel[1] AND d.key = p_key[1] AND d.at >= p_oldest[1]);
    END IF;
  END IF;
  made := numbers('messages', 'seq', many);
  bodies_made := numbers('bodies', 'id', many);
  INSERT INTO bodies (id, digest, size, zipped, data) OVERRIDING SYSTEM VALUE
    SELECT * FROM unnest(bodies_made, p_body_digest, p_size, p_zipped, p_data);
  INSERT INTO messages (seq, body, id, channel, state, received_at, control_id, message_type, peer, media, digest, size, reply,
                        headers, code, why, config, duplicate_key, replay_of, lanes) OVERRIDING SYSTEM VALUE
    SELECT i.*, p_lanes[array_position(made, i.seq)]::text[]
    FROM unnest(made, bodies_made, p_id, p_channel, p_state, p_received_at, p_control_id, p_message_type, p_peer, p_media, p_digest,
                p_size, p_reply, p_headers, p_code, p_why, p_config, p_key, p_replay_of) AS i (seq);
  PERFORM add_keys(made, p_kinds, p_values);
  INSERT INTO tally
    SELECT 'message', i.channel, '', i.state, count(*) FROM unnest(p_channel, p_state) AS i (channel, state) GROUP BY i.channel, i.state
    UNION ALL SELECT 'stored', i.channel, '', '', sum(length(i.data)) FROM unnest(p_channel, p_data) AS i (channel, data)
      GROUP BY i.channel;
  INSERT INTO duplicates AS d (channel, key, digest, message, at)
    SELECT * FROM unnest(p_channel, p_key, p_digest, made, p_received_at) AS i (channel, key) WHERE i.key IS NOT NULL
    ON CONFLICT (channel, key, digest) DO UPDATE SET message = excluded.message, at = excluded.at;
  IF earlier IS NOT NULL THEN PERFORM supersede(earlier, p_id[1], p_now[1]); END IF;
  IF other_content THEN
    INSERT INTO events (at, what, message, detail) VALUES (p_now[1], 'other-content', made[1], '');
  END IF;
  PERFORM enqueue(array_agg(i.channel), array_agg(''::text), array_agg(i.seq), array_agg(i.lanes))
    FROM unnest(p_channel, made, p_lanes, p_state) AS i (channel, seq, lanes, state) WHERE i.state = 'received';
  RETURN QUERY SELECT i.n::integer, i.id, i.reply, duplicate, other_content
    FROM unnest(p_id, p_reply) WITH ORDINALITY AS i (id, reply, n);
END $$;

-- Park the message of a lease. False: the lease has ended.
CREATE OR REPLACE FUNCTION park(
  p_channel text, p_seq bigint, p_fence bigint, p_code text, p_why text, p_findings text, p_now bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  place tid := (places(ARRAY[p_channel], '{""}', ARRAY[p_seq], ARRAY[p_fence]))[1];
BEGIN
  IF place IS NULL THEN RETURN false; END IF;
  UPDATE messages SET state = 'parked', code = p_code, why = p_why, findings = p_findings
    WHERE seq = p_seq AND state = 'received';
  PERFORM count_message(p_channel, 'received', -1);
  PERFORM count_message(p_channel, 'parked', 1);
  PERFORM dequeue(ARRAY[place]);
  INSERT INTO events (at, what, message, detail) VALUES (p_now, 'parked', p_seq, p_code);
  RETURN true;
END $$;

-- --- what earlier messages taught ------------------------------------------------------------------------------------------

-- All that is known of these aliases and objects, and of what they lead to. Rows of three kinds: alias (a leads to b), merge (a
-- into b), sent (destination a, object b, and the newest state that counts: of a delivery neither parked nor discarded).
CREATE OR REPLACE FUNCTION known(p_aliases text[], p_objects text[], p_destinations text[])
RETURNS TABLE (kind text, a text, b text, delivery bigint, digest text, version text, rank integer, pack bigint, start integer,
               length integer) LANGUAGE plpgsql STABLE AS $$
DECLARE
  things text[] := ARRAY(
    SELECT unnest(p_objects) UNION SELECT q.object FROM aliases q WHERE q.alias = ANY (p_aliases)
    UNION SELECT q.object FROM unnest(p_aliases) asked CROSS JOIN aliases q
      WHERE q.alias > asked || chr(9) AND q.alias < asked || chr(10));
  step text[] := things;
BEGIN
  RETURN QUERY SELECT 'alias', q.alias, q.object, 0::bigint, '', '', 0, 0::bigint, 0, 0
    FROM aliases q WHERE q.alias = ANY (p_aliases)
    UNION ALL SELECT 'alias', q.alias, q.object, 0::bigint, '', '', 0, 0::bigint, 0, 0
      FROM unnest(p_aliases) asked CROSS JOIN aliases q WHERE q.alias > asked || chr(9) AND q.alias < asked || chr(10);
  WHILE step <> '{}' LOOP
    RETURN QUERY SELECT 'merge', m.retired, m.survivor, 0::bigint, '', '', 0, 0::bigint, 0, 0
      FROM merged m WHERE m.retired = ANY (step);
    step := ARRAY(SELECT DISTINCT m.survivor FROM merged m WHERE m.retired = ANY (step) AND m.survivor <> ALL (things));
    things := things || step;
  END LOOP;
  RETURN QUERY SELECT 'sent', newest.* FROM unnest(p_destinations) place CROSS JOIN unnest(things) thing CROSS JOIN LATERAL (
      SELECT s.destination, s.object, s.delivery, s.digest, s.version, s.rank, s.pack, s.start, s.length FROM sent s
      WHERE s.destination = place AND s.object = thing
        AND coalesce((SELECT d.state FROM deliveries d WHERE d.seq = s.delivery), 'pruned') NOT IN ('parked', 'discarded')
      ORDER BY s.delivery DESC LIMIT 1) newest;
END $$;

-- The same, and a row of kind mark: "a" is a digest of the answer, equal while the answer is still true.
CREATE OR REPLACE FUNCTION known_marked(p_aliases text[], p_objects text[], p_destinations text[])
RETURNS TABLE (kind text, a text, b text, delivery bigint, digest text, version text, rank integer, pack bigint, start integer,
               length integer) LANGUAGE sql STABLE AS $$
  WITH k AS MATERIALIZED (SELECT * FROM known(p_aliases, p_objects, p_destinations))
  SELECT * FROM k
  UNION ALL
  SELECT 'mark', coalesce(md5(string_agg(concat_ws(chr(31), k.kind, k.a, k.b, k.delivery), chr(30) ORDER BY k.kind, k.a, k.b)), ''),
         '', 0, '', '', 0, 0, 0, 0 FROM k
$$;

-- --- forwarding ------------------------------------------------------------------------------------------------------------

-- What transformations made, for each 'done', or why nothing is written: 'ended', its lease has; 'changed', what was known has. What
-- one brings is known to the next. An array holds a value for each message, of several an array literal or JSON; or (b_: bodies,
-- d_: deliveries, by "b_of" and "d_of" of which message; "d_body": which of all bodies; "p_first": deliveries before a message's)
-- all there are.
CREATE OR REPLACE FUNCTION forward(
  p_channel text[], p_seq bigint[], p_fence bigint[], p_mark text[], p_aliases text[], p_objects text[], p_destinations text[],
  p_state text[], p_code text[], p_why text[], p_findings text[], p_sent text[], p_pack_size bigint[], p_pack bytea[],
  l_alias text[], l_object text[], l_retired text[], l_survivor text[], p_kinds text[], p_values text[], p_unread text[],
  p_now bigint[], p_first bigint[], b_of bigint[], b_digest bytea[], b_size bigint[], b_zipped bigint[], b_data bytea[], d_of bigint[],
  d_id text[], d_destination text[], d_lanes text[], d_body bigint[], d_media text[], d_headers text[]
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  stands tid[] := places(p_channel, array_fill(''::text, ARRAY[cardinality(p_seq)]), p_seq, p_fence);
  bodies_made bigint[] := numbers('bodies', 'id', cardinality(b_of));
  made bigint[] := numbers('deliveries', 'seq', cardinality(d_of));
  done bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(p_seq)]);  -- row numbers; null where nothing is written
  said text[];
  keeping bigint;
BEGIN
  FOR i IN 1 .. cardinality(p_seq) LOOP
    IF stands[i] IS NULL THEN
      said[i] := 'ended';
      CONTINUE;
    END IF;
    IF p_mark[i] <> (
      SELECT k.a FROM known_marked(p_aliases[i]::text[], p_objects[i]::text[], p_destinations[i]::text[]) k WHERE k.kind = 'mark')
    THEN
      said[i] := 'changed';
      stands[i] := NULL;
      CONTINUE;
    END IF;
    said[i] := 'done';
    done[i] := p_seq[i];
    IF p_pack[i] IS NOT NULL THEN
      INSERT INTO packs (size, data) VALUES (p_pack_size[i], p_pack[i]) RETURNING id INTO keeping;
      INSERT INTO sent (destination, object, delivery, digest, version, rank, pack, start, length)
        SELECT s.destination, s.object, made[p_first[i] + s.delivery], s.digest, s.version, s.rank, keeping, s.start, s.length
        FROM json_to_recordset(p_sent[i]::json) AS s (
          destination text, object text, delivery integer, digest text, version text, rank integer, start integer, length integer);
    END IF;
    IF l_alias[i] <> '{}' THEN
      INSERT INTO aliases (alias, object, message) SELECT a, o, p_seq[i] FROM unnest(l_alias[i]::text[], l_object[i]::text[]) AS t (a, o)
        ON CONFLICT (alias) DO UPDATE SET object = excluded.object, message = excluded.message;
    END IF;
    IF l_retired[i] <> '{}' THEN
      INSERT INTO merged (retired, survivor, message)
        SELECT r, s, p_seq[i] FROM unnest(l_retired[i]::text[], l_survivor[i]::text[]) AS t (r, s)
        ON CONFLICT (retired) DO UPDATE SET survivor = excluded.survivor, message = excluded.message;
    END IF;
  END LOOP;
  IF 'done' <> ALL (said) THEN RETURN said; END IF;
  UPDATE messages m SET (state, code, why, findings) = (
      SELECT p_state[i], p_code[i], p_why[i], p_findings[i] FROM array_position(done, m.seq) i)
    WHERE m.seq = ANY (done) AND m.state = 'received';
  INSERT INTO tally SELECT 'message', i.channel, '', change.state, sum(change.n)
    FROM unnest(done, p_channel, p_state) AS i (seq, channel, state) CROSS JOIN LATERAL (VALUES ('received', -1), (i.state, 1))
      AS change (state, n) WHERE i.seq IS NOT NULL GROUP BY i.channel, change.state;
  INSERT INTO bodies (id, digest, size, zipped, data) OVERRIDING SYSTEM VALUE
    SELECT b.id, b.digest, b.size, b.zipped, b.data
    FROM unnest(bodies_made, b_of, b_digest, b_size, b_zipped, b_data) AS b (id, of, digest, size, zipped, data)
    WHERE done[b.of] IS NOT NULL;
  INSERT INTO deliveries (seq, id, message, channel, destination, state, lanes, body, size, digest, media, headers, created_at,
                          received_at, message_type) OVERRIDING SYSTEM VALUE
    SELECT d.seq, d.id, done[d.of], p_channel[d.of], d.destination, 'waiting', d.lanes::text[], bodies_made[d.body], b_size[d.body],
           encode(b_digest[d.body], 'hex'), d.media, d.headers, p_now[d.of], m.received_at, m.message_type
    FROM unnest(made, d_of, d_id, d_destination, d_lanes, d_body, d_media, d_headers)
      AS d (seq, of, id, destination, lanes, body, media, headers)
    CROSS JOIN LATERAL (SELECT m.received_at, m.message_type FROM messages m WHERE m.seq = done[d.of] LIMIT 1) m;
  INSERT INTO tally
    SELECT 'delivery', p_channel[d.of], d.destination, 'waiting', count(*)
      FROM unnest(d_of, d_destination) AS d (of, destination) WHERE done[d.of] IS NOT NULL GROUP BY p_channel[d.of], d.destination
    UNION ALL SELECT 'stored', p_channel[b.of], '', '', sum(length(b.data))
      FROM unnest(b_of, b_data) AS b (of, data) WHERE done[b.of] IS NOT NULL GROUP BY p_channel[b.of];
  PERFORM enqueue(array_agg(p_channel[d.of]), array_agg(d.destination), array_agg(d.seq), array_agg(d.lanes))
    FROM unnest(made, d_of, d_destination, d_lanes) AS d (seq, of, destination, lanes) WHERE done[d.of] IS NOT NULL;
  PERFORM dequeue(array_remove(stands, NULL));
  PERFORM add_keys(done, p_kinds, p_values);
  INSERT INTO tally SELECT 'unread', i.channel, path, '', count(*)
    FROM unnest(done, p_channel, p_unread) AS i (seq, channel, unread) CROSS JOIN LATERAL unnest(i.unread::text[]) path
    WHERE i.seq IS NOT NULL GROUP BY i.channel, path;
  RETURN said;
END $$;

-- --- deliveries ------------------------------------------------------------------------------------------------------------

-- Remove those of these packs that no state points to any more.
CREATE OR REPLACE FUNCTION drop_packs(p_packs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM packs p WHERE p.id = ANY (p_packs) AND NOT EXISTS (SELECT 1 FROM sent s WHERE s.pack = p.id);
END $$;

-- How attempts ended. A delivery that was given up meanwhile keeps its state; the attempt is kept too. False: the lease has
-- ended. "p_state": delivered, parked (with "p_due" holding its lanes), or waiting for the time "p_due". "p_sent": whether it was
-- an attempt; "p_counts": 1 where the backoff grows by it, else 0.
CREATE OR REPLACE FUNCTION settle(
  p_channel text[], p_destination text[], p_seq bigint[], p_fence bigint[], p_state text[], p_code text[], p_why text[],
  p_due bigint[], p_counts bigint[], p_sent boolean[], p_now bigint[], p_took bigint[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
  stands tid[] := places(p_channel, p_destination, p_seq, p_fence);
  held bigint[] := ARRAY(  -- row numbers; null where the lease has ended
    SELECT CASE WHEN i.place IS NOT NULL THEN i.seq END FROM unnest(p_seq, stands) WITH ORDINALITY AS i (seq, place, n) ORDER BY i.n);
  delivered bigint[];
  left_behind bigint[];
BEGIN
  WITH changed AS (
    UPDATE deliveries d SET (state, attempts, due_at, code, why, settled_at) = (
        SELECT p_state[i], d.attempts + p_counts[i], p_due[i], p_code[i], p_why[i],
               CASE WHEN p_state[i] <> 'waiting' THEN p_now[i] END
        FROM array_position(held, d.seq) i)
      WHERE d.seq = ANY (held) AND d.state = 'waiting' RETURNING d.seq, d.channel, d.destination, d.state),
  counted AS (
    INSERT INTO tally SELECT 'delivery', c.channel, c.destination, change.state, sum(change.n)
      FROM changed c CROSS JOIN LATERAL (VALUES ('waiting', -1), (c.state, 1)) AS change (state, n)
      WHERE c.state <> 'waiting' GROUP BY c.channel, c.destination, change.state)
  SELECT array_agg(c.seq) INTO delivered FROM changed c WHERE c.state = 'delivered';
  IF delivered IS NOT NULL THEN
    WITH gone AS (
      DELETE FROM sent WHERE ctid = ANY (ARRAY(
        SELECT old.ctid FROM sent new CROSS JOIN LATERAL (
          SELECT o.ctid FROM sent o
          WHERE o.destination = new.destination AND o.object = new.object AND o.delivery < new.delivery
            AND coalesce((SELECT d.state FROM deliveries d WHERE d.seq = o.delivery), '') <> 'parked'  -- a retry asks about it
          OFFSET 0) old
        WHERE new.delivery = ANY (delivered)))
      RETURNING pack)
    SELECT array_agg(DISTINCT pack) INTO left_behind FROM gone;
    IF left_behind IS NOT NULL THEN PERFORM drop_packs(left_behind); END IF;
  END IF;
  INSERT INTO attempts (delivery, number, at, outcome, code, why, took)
    SELECT i.seq, coalesce((SELECT max(a.number) FROM attempts a WHERE a.delivery = i.seq), 0) + 1, i.now,
           CASE i.state WHEN 'waiting' THEN 'retry' ELSE i.state END, i.code, i.why, i.took
    FROM unnest(held, p_state, p_code, p_why, p_now, p_took, p_sent) AS i (seq, state, code, why, now, took, sent)
    JOIN deliveries d ON d.seq = i.seq  -- given up while it was being sent, it may be removed by now
    WHERE i.sent;
  PERFORM dequeue(array_agg(i.place)) FROM unnest(stands, p_due) AS i (place, due) WHERE i.place IS NOT NULL AND i.due IS NULL;
  PERFORM give_back(i.channel, i.destination, i.seq, i.fence, clock() + i.due - i.now)  -- the node's clock may be wrong
    FROM unnest(p_channel, p_destination, held, p_fence, p_due, p_now) AS i (channel, destination, seq, fence, due, now)
    WHERE i.seq IS NOT NULL AND i.due IS NOT NULL;
  RETURN ARRAY(SELECT i.seq IS NOT NULL FROM unnest(held) WITH ORDINALITY AS i (seq, n) ORDER BY i.n);
END $$;

-- Fold the differences of the counts.
CREATE OR REPLACE FUNCTION fold_tally() RETURNS void LANGUAGE sql AS $$
  WITH gone AS (DELETE FROM tally RETURNING *)
  INSERT INTO tally SELECT kind, channel, name, state, CASE kind WHEN 'arrival' THEN max(n) ELSE sum(n) END
  FROM gone GROUP BY kind, channel, name, state HAVING kind = 'arrival' OR sum(n) <> 0
$$;
