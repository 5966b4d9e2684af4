-- Of an open delivery, what its message is found by: so what waits, or is parked, is found in the order its messages came.
ALTER TABLE deliveries ADD COLUMN received_at bigint NOT NULL DEFAULT 0, ADD COLUMN message_type text NOT NULL DEFAULT '';
UPDATE deliveries d SET received_at = m.received_at, message_type = m.message_type
FROM messages m WHERE m.seq = d.message AND d.state IN ('waiting', 'parked');
DROP INDEX deliveries_parked;
CREATE INDEX deliveries_open ON deliveries (state, received_at, message) WHERE state IN ('waiting', 'parked');
CREATE INDEX deliveries_open_channel ON deliveries (channel, state, received_at, message, message_type)
  WHERE state IN ('waiting', 'parked');
CREATE INDEX deliveries_open_type ON deliveries (message_type, state, received_at, message) WHERE state IN ('waiting', 'parked');
