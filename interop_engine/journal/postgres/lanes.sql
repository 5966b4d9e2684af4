-- What one job of a group writes. All writers take turns (an advisory lock a group, see the module writer), so that row numbers
-- are given in the order of commits, and no function here must think of others that run beside it.

-- --- lanes ---------------------------------------------------------------------------------------------------------------
-- Lanes are looked up one by one, each by its whole key: while a long reader (a backup) keeps dead rows from being removed, all
-- dead rows of a queue would be read otherwise, for each item.

-- Items join their queues, due now; a retried delivery comes back to its old place. "p_lanes": an array literal for each. An item
-- is the head of its lanes where nothing stands in them, and nothing that joins with it comes before it there.
CREATE OR REPLACE FUNCTION enqueue(p_channel text[], p_destination text[], p_seq bigint[], p_lanes text[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  WITH stands AS MATERIALIZED (
    SELECT i.channel, i.destination, i.seq, i.lanes::text[] AS lanes, each AS lane, coalesce(taken.is, false)
           OR i.seq > min(i.seq) OVER (PARTITION BY i.channel, i.destination, each) AND each IS NOT NULL AS behind
    FROM unnest(p_channel, p_destination, p_seq, p_lanes) AS i (channel, destination, seq, lanes)
      LEFT JOIN LATERAL unnest(i.lanes::text[]) each ON true
      LEFT JOIN LATERAL (SELECT true AS is FROM work_lanes l
        WHERE l.channel = i.channel AND l.destination = i.destination AND l.lane = each LIMIT 1) taken ON true),
  items AS MATERIALIZED (
    SELECT *, NOT bool_or(behind) OVER (PARTITION BY channel, destination, seq) AS free FROM stands),
  joined AS (
    INSERT INTO work (channel, destination, seq, lanes, head, at)
      SELECT DISTINCT ON (channel, destination, seq) channel, destination, seq, lanes, free, 0 FROM items)
  INSERT INTO work_lanes (channel, destination, lane, seq, held)
    SELECT DISTINCT channel, destination, lane, seq, free FROM items WHERE lane IS NOT NULL;
END $$;

-- Make an item the head of its lanes, where nothing older stands in them and nothing younger is leased in them.
CREATE OR REPLACE FUNCTION make_head(p_channel text, p_destination text, p_seq bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  item work;
  holders bigint[];
BEGIN
  SELECT * INTO item FROM work WHERE channel = p_channel AND destination = p_destination AND seq = p_seq;
  IF item.head OR EXISTS (
    SELECT 1 FROM unnest(item.lanes) each CROSS JOIN LATERAL (
      SELECT 1 FROM work_lanes l
      WHERE l.channel = p_channel AND l.destination = p_destination AND l.lane = each AND l.seq < p_seq LIMIT 1) older)
  THEN RETURN; END IF;
  holders := ARRAY(
    SELECT DISTINCT holder.seq FROM unnest(item.lanes) each CROSS JOIN LATERAL (
      SELECT l.seq FROM work_lanes l
      WHERE l.channel = p_channel AND l.destination = p_destination AND l.lane = each AND l.held LIMIT 1) holder);
  IF holders <> '{}' THEN
    IF EXISTS (SELECT 1 FROM work w WHERE w.channel = p_channel AND w.destination = p_destination AND w.seq = ANY (holders)
               AND w.fence <> 0)
    THEN RETURN; END IF;
    UPDATE work SET head = false WHERE channel = p_channel AND destination = p_destination AND seq = ANY (holders);
    UPDATE work_lanes l SET held = false
      FROM (SELECT w.seq, unnest(w.lanes) AS lane FROM work w
            WHERE w.channel = p_channel AND w.destination = p_destination AND w.seq = ANY (holders)) of
      WHERE l.channel = p_channel AND l.destination = p_destination AND l.lane = of.lane AND l.seq = of.seq AND l.held;
  END IF;
  UPDATE work SET head = true WHERE channel = p_channel AND destination = p_destination AND seq = p_seq;
  UPDATE work_lanes l SET held = true FROM unnest(item.lanes) each
    WHERE l.channel = p_channel AND l.destination = p_destination AND l.lane = each AND l.seq = p_seq;
END $$;

-- Let the first of each of these lanes be its head.
CREATE OR REPLACE FUNCTION promote(p_channel text[], p_destination text[], p_lane text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  each record;
BEGIN
  FOR each IN
    SELECT DISTINCT f.channel, f.destination, first.seq FROM unnest(p_channel, p_destination, p_lane) AS f (channel, destination, lane)
    CROSS JOIN LATERAL (
      SELECT l.seq, l.held FROM work_lanes l
      WHERE l.channel = f.channel AND l.destination = f.destination AND l.lane = f.lane ORDER BY l.seq LIMIT 1) first
    WHERE NOT first.held ORDER BY f.channel, f.destination, first.seq
  LOOP
    PERFORM make_head(each.channel, each.destination, each.seq);
  END LOOP;
END $$;

-- The same of one queue.
CREATE OR REPLACE FUNCTION promote(p_channel text, p_destination text, p_lanes text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM promote(array_fill(p_channel, ARRAY[cardinality(p_lanes)]), array_fill(p_destination, ARRAY[cardinality(p_lanes)]), p_lanes);
END $$;

-- Items leave their queues for good; "p_places": where their rows are.
CREATE OR REPLACE FUNCTION dequeue(p_places tid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  channels text[];
  destinations text[];
  seqs bigint[];
  freed text[];
BEGIN
  WITH gone AS (DELETE FROM work WHERE ctid = ANY (p_places) RETURNING channel, destination, seq, lanes)
  SELECT array_agg(g.channel), array_agg(g.destination), array_agg(g.seq), array_agg(each) INTO channels, destinations, seqs, freed
    FROM gone g CROSS JOIN LATERAL unnest(g.lanes) each;
  IF freed IS NULL THEN RETURN; END IF;
  DELETE FROM work_lanes WHERE ctid = ANY (ARRAY(
    SELECT stood.ctid FROM unnest(channels, destinations, seqs, freed) AS f (channel, destination, seq, lane)
    CROSS JOIN LATERAL (
      SELECT l.ctid FROM work_lanes l
      WHERE l.channel = f.channel AND l.destination = f.destination AND l.lane = f.lane AND l.seq = f.seq LIMIT 1) stood));
  PERFORM promote(channels, destinations, freed);
END $$;

-- One item leaves.
CREATE OR REPLACE FUNCTION dequeue(p_channel text, p_destination text, p_seq bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM dequeue(ARRAY(
    SELECT ctid FROM work WHERE channel = p_channel AND destination = p_destination AND seq = p_seq));
END $$;

-- An item was given up: it leaves, at once or when its lease ends.
CREATE OR REPLACE FUNCTION abandon(p_channel text, p_destination text, p_seq bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE work SET gone = true WHERE channel = p_channel AND destination = p_destination AND seq = p_seq AND fence <> 0;
  IF NOT FOUND THEN PERFORM dequeue(p_channel, p_destination, p_seq); END IF;
END $$;

-- A lease ended and its item stays, due at "p_at"; one that was given up meanwhile leaves.
CREATE OR REPLACE FUNCTION give_back(p_channel text, p_destination text, p_seq bigint, p_fence bigint, p_at bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  item work;
BEGIN
  UPDATE work SET fence = 0, node = '', at = p_at
    WHERE channel = p_channel AND destination = p_destination AND seq = p_seq AND fence = p_fence RETURNING * INTO item;
  IF NOT FOUND THEN RETURN; END IF;
  IF item.gone THEN
    PERFORM dequeue(p_channel, p_destination, p_seq);
  ELSE
    PERFORM promote(p_channel, p_destination, item.lanes);
  END IF;
END $$;

-- End all leases of a node but those it knows of: those of a commit whose answer was lost, or all when it stops.
CREATE OR REPLACE FUNCTION end_leases(p_node text, p_known bigint[]) RETURNS TABLE (q_channel text, q_destination text)
LANGUAGE plpgsql AS $$
DECLARE
  item work;
BEGIN
  FOR item IN SELECT * FROM work WHERE fence <> 0 AND node = p_node AND fence <> ALL (p_known) LOOP
    PERFORM give_back(item.channel, item.destination, item.seq, item.fence, 0);
    q_channel := item.channel;
    q_destination := item.destination;
    RETURN NEXT;
  END LOOP;
END $$;

-- Microseconds by the database's clock.
CREATE OR REPLACE FUNCTION clock() RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- End all leases of the nodes that have not said for "p_seconds" that they live.
CREATE OR REPLACE FUNCTION bury(p_seconds double precision) RETURNS TABLE (q_channel text, q_destination text)
LANGUAGE plpgsql AS $$
DECLARE
  dead text;
BEGIN
  FOR dead IN DELETE FROM nodes WHERE beat < clock() - p_seconds * 1000000 RETURNING node LOOP
    RETURN QUERY SELECT * FROM end_leases(dead, '{}');
  END LOOP;
END $$;

-- Lease up to so many items of each of these queues ("item_queue": which, from 1), for "p_time" microseconds. A lease whose time is
-- over ends here: its item goes on, and its worker's fence is worth nothing. The time is the database's: a node whose clock is wrong
-- must not end the leases of others.
CREATE OR REPLACE FUNCTION claim(p_channel text[], p_destination text[], p_count bigint[], p_node text, p_time bigint)
RETURNS TABLE (item_queue integer, item_seq bigint, item_fence bigint) LANGUAGE plpgsql ROWS 8 AS $$
DECLARE
  item work;
  present bigint := clock();
BEGIN
  FOR q IN 1 .. cardinality(p_channel) LOOP
    FOR item IN SELECT * FROM work w
      WHERE w.channel = p_channel[q] AND w.destination = p_destination[q] AND w.fence <> 0 AND w.at <= present LOOP
      PERFORM give_back(item.channel, item.destination, item.seq, item.fence, 0);
    END LOOP;
    RETURN QUERY
      UPDATE work SET fence = nextval('fences'), at = present + p_time, node = p_node WHERE ctid = ANY (ARRAY(
        SELECT w.ctid FROM work w
        WHERE w.channel = p_channel[q] AND w.destination = p_destination[q] AND w.head AND w.fence = 0 AND w.at <= present
        ORDER BY w.seq LIMIT p_count[q]))
      RETURNING q, seq, fence;
  END LOOP;
END $$;

-- In how many microseconds something of the queue can be leased next (0: now), null where all of it is done.
CREATE OR REPLACE FUNCTION next_due(p_channel text, p_destination text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  present bigint := clock();
BEGIN
  IF EXISTS (SELECT 1 FROM work w WHERE w.channel = p_channel AND w.destination = p_destination AND w.head AND w.fence = 0
             AND w.at <= present ORDER BY w.seq)
  THEN RETURN 0; END IF;
  RETURN greatest(1, least(
    (SELECT min(at) FROM work w WHERE w.channel = p_channel AND w.destination = p_destination AND w.head AND w.fence = 0),
    (SELECT min(at) FROM work w WHERE w.channel = p_channel AND w.destination = p_destination AND w.fence <> 0)) - present);
END $$;

-- Of the queues that were looked at, when there is more ("wait", see above); and the others are told of what is left for them:
-- "p_left" is when what came into a queue is due, by the clock of the node ("p_now"), null where nothing did.
CREATE OR REPLACE FUNCTION leave_over(
  p_channel text[], p_destination text[], p_left bigint[], p_looked boolean[], p_node text, p_now bigint
) RETURNS TABLE (queue integer, wait bigint) LANGUAGE plpgsql AS $$
DECLARE
  due bigint;
  alone boolean := NOT EXISTS (SELECT 1 FROM nodes n WHERE n.node <> p_node);
BEGIN
  FOR q IN 1 .. cardinality(p_channel) LOOP
    due := p_left[q];
    IF p_looked[q] THEN
      queue := q;
      wait := next_due(p_channel[q], p_destination[q]);
      RETURN NEXT;
      IF wait IS NULL OR (wait > 0 AND due = 0) THEN
        due := NULL;  -- our own workers have taken it all
      ELSIF due IS NOT NULL THEN
        due := CASE WHEN wait > 0 THEN p_now + wait ELSE 0 END;
      END IF;
    END IF;
    IF due IS NOT NULL AND NOT alone THEN
      PERFORM pg_notify(
        'interop_engine_' || current_schema(), json_build_array(p_channel[q], nullif(p_destination[q], ''), due)::text);
    END IF;
  END LOOP;
END $$;

-- Where in "work" the items of these leases are; null for one whose lease has ended.
CREATE OR REPLACE FUNCTION places(p_channel text[], p_destination text[], p_seq bigint[], p_fence bigint[]) RETURNS tid[]
LANGUAGE plpgsql AS $$
BEGIN
  RETURN ARRAY(
    SELECT held.ctid FROM unnest(p_channel, p_destination, p_seq, p_fence) WITH ORDINALITY AS i (channel, destination, seq, fence, n)
    LEFT JOIN LATERAL (
      SELECT w.ctid FROM work w
      WHERE w.channel = i.channel AND w.destination = i.destination AND w.seq = i.seq AND w.fence = i.fence LIMIT 1) held ON true
    ORDER BY i.n);
END $$;
