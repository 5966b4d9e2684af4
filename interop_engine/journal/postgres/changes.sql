-- What one job of a group writes, and what is known. See lanes.sql for who else may write meanwhile: nobody.

-- --- messages ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION count_message(p_channel text, p_state text, p_n bigint) RETURNS void LANGUAGE sql AS $$
  INSERT INTO tally VALUES ('message', p_channel, '', p_state, p_n)
$$;

CREATE OR REPLACE FUNCTION count_delivery(p_channel text, p_destination text, p_state text, p_n bigint) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO tally VALUES ('delivery', p_channel, p_destination, p_state, p_n)
$$;

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

CREATE OR REPLACE FUNCTION add_body(p_digest bytea, p_size bigint, p_zipped bigint, p_data bytea) RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO bodies (digest, size, zipped, data) VALUES (p_digest, p_size, p_zipped, p_data) RETURNING id
$$;

CREATE OR REPLACE FUNCTION add_keys(p_message bigint, p_kinds text[], p_values text[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO search_keys (kind, value, message) SELECT k, v, p_message FROM unnest(p_kinds, p_values) AS t (k, v)
  ON CONFLICT DO NOTHING
$$;

-- Write a message, or find that it came before (at "p_oldest" or later). "item" is the message, without its body.
CREATE OR REPLACE FUNCTION accept(
  item messages, p_digest bytea, p_zipped bigint, p_data bytea, p_kinds text[], p_values text[], p_oldest bigint, p_now bigint
) RETURNS TABLE (stored_id text, stored_reply bytea, duplicate boolean, other_content boolean) LANGUAGE plpgsql AS $$
DECLARE
  earlier bigint;
  was messages;
BEGIN
  INSERT INTO tally VALUES ('arrival', item.channel, '', '', item.received_at);
  stored_id := item.id;
  stored_reply := item.reply;
  duplicate := false;
  other_content := false;
  IF item.duplicate_key IS NOT NULL THEN
    SELECT d.message INTO earlier FROM duplicates d
      WHERE d.channel = item.channel AND d.key = item.duplicate_key AND d.digest = item.digest AND d.at >= p_oldest;
    IF FOUND THEN
      SELECT * INTO was FROM messages WHERE seq = earlier;
      IF was.state NOT IN ('rejected', 'parked', 'discarded', 'superseded') AND NOT EXISTS (
        SELECT 1 FROM deliveries d WHERE d.message = earlier AND d.state IN ('parked', 'discarded'))
      THEN
        UPDATE messages SET arrivals = arrivals + 1 WHERE seq = earlier;
        stored_id := was.id;
        stored_reply := was.reply;
        duplicate := true;
        RETURN NEXT;
        RETURN;
      END IF;
    ELSE
      other_content := EXISTS (
        SELECT 1 FROM duplicates d WHERE d.channel = item.channel AND d.key = item.duplicate_key AND d.at >= p_oldest);
    END IF;
  END IF;
  item.seq := nextval(pg_get_serial_sequence('messages', 'seq'));
  item.body := add_body(p_digest, item.size, p_zipped, p_data);
  INSERT INTO messages OVERRIDING SYSTEM VALUE VALUES (item.*);
  PERFORM add_keys(item.seq, p_kinds, p_values);
  PERFORM count_message(item.channel, item.state, 1);
  IF item.duplicate_key IS NOT NULL THEN
    INSERT INTO duplicates AS d (channel, key, digest, message, at)
      VALUES (item.channel, item.duplicate_key, item.digest, item.seq, item.received_at)
      ON CONFLICT (channel, key, digest) DO UPDATE SET message = excluded.message, at = excluded.at;
  END IF;
  IF earlier IS NOT NULL THEN PERFORM supersede(earlier, item.id, p_now); END IF;
  IF other_content THEN
    INSERT INTO events (at, what, message, detail) VALUES (p_now, 'other-content', item.seq, '');
  END IF;
  IF item.state = 'received' THEN PERFORM enqueue(item.channel, '', item.seq, item.lanes, 0); END IF;
  RETURN NEXT;
END $$;

-- The message of a lease leaves its queue: parked, transformed or filtered. False: the lease has ended.
CREATE OR REPLACE FUNCTION finish_message(
  p_channel text, p_seq bigint, p_fence bigint, p_state text, p_code text, p_why text, p_findings text, p_now bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF p_fence IS NOT NULL AND NOT holds(p_channel, '', p_seq, p_fence) THEN RETURN false; END IF;
  UPDATE messages SET state = p_state, code = p_code, why = p_why, findings = p_findings WHERE seq = p_seq AND state = 'received';
  PERFORM count_message(p_channel, 'received', -1);
  PERFORM count_message(p_channel, p_state, 1);
  PERFORM dequeue(p_channel, '', p_seq);
  IF p_state = 'parked' THEN
    INSERT INTO events (at, what, message, detail) VALUES (p_now, 'parked', p_seq, p_code);
  END IF;
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

-- What a transformation made. 'ended': the lease has; 'changed': what was known has; nothing is written in either case.
-- Parallel arrays: b_ bodies, s_ states (s_delivery, and "body" of a delivery, count from 1). p_deliveries: a JSON array.
CREATE OR REPLACE FUNCTION forward(
  p_message text, p_channel text, p_seq bigint, p_fence bigint, p_mark text, p_aliases text[], p_objects text[],
  p_destinations text[], p_state text, p_code text, p_why text, p_findings text, p_deliveries json,
  b_digest bytea[], b_size bigint[], b_zipped bigint[], b_data bytea[], p_sent json, p_pack_size bigint, p_pack bytea,
  l_alias text[], l_object text[], l_retired text[], l_survivor text[], p_kinds text[], p_values text[], p_unread text[],
  p_now bigint
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  bodies_made bigint[];
  deliveries_made bigint[];
  made bigint;
  each record;
  keeping bigint;
BEGIN
  IF NOT holds(p_channel, '', p_seq, p_fence) THEN RETURN 'ended'; END IF;
  IF p_mark IS NOT NULL AND p_mark <> (
    SELECT k.a FROM known_marked(p_aliases, p_objects, p_destinations) k WHERE k.kind = 'mark')
  THEN RETURN 'changed'; END IF;
  PERFORM finish_message(p_channel, p_seq, NULL, p_state, p_code, p_why, p_findings, p_now);
  FOR n IN 1 .. cardinality(b_digest) LOOP
    bodies_made[n] := add_body(b_digest[n], b_size[n], b_zipped[n], b_data[n]);
  END LOOP;
  FOR each IN SELECT * FROM json_to_recordset(p_deliveries)
      AS d (id text, destination text, lanes json, body integer, media text, headers text) LOOP
    INSERT INTO deliveries (id, message, channel, destination, state, lanes, body, size, digest, media, headers, created_at,
                            received_at, message_type)
      SELECT each.id, p_seq, p_channel, each.destination, 'waiting', ARRAY(SELECT json_array_elements_text(each.lanes)),
             bodies_made[each.body], b_size[each.body], encode(b_digest[each.body], 'hex'), each.media, each.headers, p_now,
             m.received_at, m.message_type
      FROM messages m WHERE m.seq = p_seq
      RETURNING seq INTO made;
    deliveries_made := deliveries_made || made;
    PERFORM count_delivery(p_channel, each.destination, 'waiting', 1);
    PERFORM enqueue(p_channel, each.destination, made, ARRAY(SELECT json_array_elements_text(each.lanes)), 0);
  END LOOP;
  IF p_pack IS NOT NULL THEN
    INSERT INTO packs (size, data) VALUES (p_pack_size, p_pack) RETURNING id INTO keeping;
    INSERT INTO sent AS old (destination, object, delivery, digest, version, rank, pack, start, length)
      SELECT DISTINCT ON (s.destination, s.object, s.delivery) s.destination, s.object, deliveries_made[s.delivery], s.digest,
             s.version, s.rank, keeping, s.start, s.length
      FROM json_to_recordset(p_sent) AS s (
        n integer, destination text, object text, delivery integer, digest text, version text, rank integer, start integer,
        length integer)
      ORDER BY s.destination, s.object, s.delivery, s.n DESC;
  END IF;
  INSERT INTO aliases (alias, object, message) SELECT a, o, p_seq FROM unnest(l_alias, l_object) AS t (a, o)
    ON CONFLICT (alias) DO UPDATE SET object = excluded.object, message = excluded.message;
  INSERT INTO merged (retired, survivor, message) SELECT r, s, p_seq FROM unnest(l_retired, l_survivor) AS t (r, s)
    ON CONFLICT (retired) DO UPDATE SET survivor = excluded.survivor, message = excluded.message;
  PERFORM add_keys(p_seq, p_kinds, p_values);
  INSERT INTO tally SELECT 'unread', p_channel, path, '', count(*) FROM unnest(p_unread) path GROUP BY path;
  RETURN 'done';
END $$;

-- --- deliveries ------------------------------------------------------------------------------------------------------------

-- Remove those of these packs that no state points to any more.
CREATE OR REPLACE FUNCTION drop_packs(p_packs bigint[]) RETURNS void LANGUAGE sql AS $$
  DELETE FROM packs p WHERE p.id = ANY (p_packs) AND NOT EXISTS (SELECT 1 FROM sent s WHERE s.pack = p.id)
$$;

-- How an attempt ended. A delivery that was given up meanwhile keeps its state; the attempt is kept too. False: the lease has
-- ended. "p_state": delivered, parked (with "p_due" holding its lanes), or waiting for the time "p_due". "p_sent": whether it was
-- an attempt; "p_counts": 1 where the backoff grows by it, else 0.
CREATE OR REPLACE FUNCTION settle(
  p_channel text, p_destination text, p_seq bigint, p_fence bigint, p_state text, p_code text, p_why text, p_due bigint,
  p_counts bigint, p_sent boolean, p_now bigint, p_took bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  left_behind bigint[];
BEGIN
  IF NOT holds(p_channel, p_destination, p_seq, p_fence) THEN RETURN false; END IF;
  UPDATE deliveries SET state = p_state, attempts = attempts + p_counts, due_at = p_due, code = p_code, why = p_why,
      settled_at = CASE WHEN p_state <> 'waiting' THEN p_now END
    WHERE seq = p_seq AND state = 'waiting';
  IF FOUND AND p_state <> 'waiting' THEN
    PERFORM count_delivery(p_channel, p_destination, 'waiting', -1);
    PERFORM count_delivery(p_channel, p_destination, p_state, 1);
    IF p_state = 'delivered' THEN
      WITH gone AS (
        DELETE FROM sent old USING sent new WHERE new.delivery = p_seq AND old.destination = new.destination
          AND old.object = new.object AND old.delivery < p_seq
          AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = old.delivery AND d.state = 'parked')  -- a retry asks about it
        RETURNING old.pack)
      SELECT array_agg(DISTINCT pack) INTO left_behind FROM gone;
      PERFORM drop_packs(left_behind);
    END IF;
  END IF;
  IF p_sent THEN
    INSERT INTO attempts (delivery, number, at, outcome, code, why, took)
      SELECT p_seq, coalesce(max(a.number), 0) + 1, p_now, CASE p_state WHEN 'waiting' THEN 'retry' ELSE p_state END, p_code,
             p_why, p_took
      FROM attempts a WHERE a.delivery = p_seq;
  END IF;
  IF p_due IS NOT NULL THEN  -- it waits for its time, or is parked and holds its lanes
    PERFORM give_back(p_channel, p_destination, p_seq, p_fence, clock() + p_due - p_now);  -- the node's clock may be wrong
  ELSE
    PERFORM dequeue(p_channel, p_destination, p_seq);
  END IF;
  RETURN true;
END $$;

-- Fold the differences of the counts.
CREATE OR REPLACE FUNCTION fold_tally() RETURNS void LANGUAGE sql AS $$
  WITH gone AS (DELETE FROM tally RETURNING *)
  INSERT INTO tally SELECT kind, channel, name, state, CASE kind WHEN 'arrival' THEN max(n) ELSE sum(n) END
  FROM gone GROUP BY kind, channel, name, state HAVING kind = 'arrival' OR sum(n) <> 0
$$;
