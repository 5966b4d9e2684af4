-- What one job of a group writes. All writers take turns (an advisory lock a group, see the module writer), so that row numbers
-- are given in the order of commits, and no function here must think of others that run beside it.

-- --- lanes ---------------------------------------------------------------------------------------------------------------
-- Lanes are looked up one by one, each by its whole key: while a long reader (a backup) keeps dead rows from being removed, all
-- dead rows of a queue would be read otherwise, for each item.

-- An item joins its queue; "p_at": when it is due (microseconds), 0 for now. A retried delivery comes back to its old place.
CREATE OR REPLACE FUNCTION enqueue(p_channel text, p_destination text, p_seq bigint, p_lanes text[], p_at bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  free boolean := NOT EXISTS (
    SELECT 1 FROM unnest(p_lanes) each CROSS JOIN LATERAL (
      SELECT 1 FROM work_lanes l WHERE l.channel = p_channel AND l.destination = p_destination AND l.lane = each LIMIT 1) taken);
BEGIN
  INSERT INTO work (channel, destination, seq, lanes, head, at) VALUES (p_channel, p_destination, p_seq, p_lanes, free, p_at);
  INSERT INTO work_lanes (channel, destination, lane, seq, held)
    SELECT DISTINCT p_channel, p_destination, each, p_seq, free FROM unnest(p_lanes) each;
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
CREATE OR REPLACE FUNCTION promote(p_channel text, p_destination text, p_lanes text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  each text;
  first bigint;
BEGIN
  FOREACH each IN ARRAY p_lanes LOOP
    SELECT l.seq INTO first FROM work_lanes l
      WHERE l.channel = p_channel AND l.destination = p_destination AND l.lane = each ORDER BY l.seq LIMIT 1;
    IF FOUND THEN PERFORM make_head(p_channel, p_destination, first); END IF;
  END LOOP;
END $$;

-- An item leaves its queue for good.
CREATE OR REPLACE FUNCTION dequeue(p_channel text, p_destination text, p_seq bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  freed text[];
BEGIN
  DELETE FROM work WHERE channel = p_channel AND destination = p_destination AND seq = p_seq RETURNING lanes INTO freed;
  IF freed <> '{}' THEN
    DELETE FROM work_lanes l USING unnest(freed) each
      WHERE l.channel = p_channel AND l.destination = p_destination AND l.lane = each AND l.seq = p_seq;
    PERFORM promote(p_channel, p_destination, freed);
  END IF;
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

-- Lease up to "p_count" items for so many microseconds. A lease whose time is over ends here: its item goes on, and its worker's
-- fence is worth nothing. The time is the database's: a node whose clock is wrong must not end the leases of others.
CREATE OR REPLACE FUNCTION claim(p_channel text, p_destination text, p_count bigint, p_node text, p_time bigint)
RETURNS TABLE (item_seq bigint, item_fence bigint) LANGUAGE plpgsql ROWS 4 AS $$
DECLARE
  item work;
  present bigint := clock();
BEGIN
  FOR item IN SELECT * FROM work w
    WHERE w.channel = p_channel AND w.destination = p_destination AND w.fence <> 0 AND w.at <= present LOOP
    PERFORM give_back(p_channel, p_destination, item.seq, item.fence, 0);
  END LOOP;
  RETURN QUERY
    WITH picked AS MATERIALIZED (
      SELECT w.seq FROM work w
      WHERE w.channel = p_channel AND w.destination = p_destination AND w.head AND w.fence = 0 AND w.at <= present
      ORDER BY w.seq LIMIT p_count)
    UPDATE work w SET fence = nextval('fences'), at = present + p_time, node = p_node FROM picked
    WHERE w.channel = p_channel AND w.destination = p_destination AND w.seq = picked.seq RETURNING w.seq, w.fence;
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

-- Whether a worker still has its item.
CREATE OR REPLACE FUNCTION holds(p_channel text, p_destination text, p_seq bigint, p_fence bigint) RETURNS boolean LANGUAGE sql AS $$
  SELECT EXISTS (
    SELECT 1 FROM work WHERE channel = p_channel AND destination = p_destination AND seq = p_seq AND fence = p_fence)
$$;
