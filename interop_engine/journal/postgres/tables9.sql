-- What is written in groups is written by functions that take many items.
DROP FUNCTION IF EXISTS accept(messages, bytea, bigint, bytea, text[], text[], bigint, bigint);
DROP FUNCTION IF EXISTS add_body(bytea, bigint, bigint, bytea);
DROP FUNCTION IF EXISTS add_keys(bigint, text[], text[]);
DROP FUNCTION IF EXISTS finish_message(text, bigint, bigint, text, text, text, text, bigint);
DROP FUNCTION IF EXISTS forward(text, text, bigint, bigint, text, text[], text[], text[], text, text, text, text, json, bytea[],
  bigint[], bigint[], bytea[], json, bigint, bytea, text[], text[], text[], text[], text[], text[], text[], bigint);
DROP FUNCTION IF EXISTS settle(text, text, bigint, bigint, text, text, text, bigint, bigint, boolean, bigint, bigint);
DROP FUNCTION IF EXISTS enqueue(text, text, bigint, text[], bigint);
DROP FUNCTION IF EXISTS claim(text, text, bigint, text, bigint);
DROP FUNCTION IF EXISTS holds(text, text, bigint, bigint);

-- One kind more: stored, the bytes of what a channel's messages and deliveries hold.
INSERT INTO tally SELECT 'stored', used.channel, '', '', sum(length(b.data))
  FROM (SELECT channel, body FROM messages UNION SELECT channel, body FROM deliveries) used JOIN bodies b ON b.id = used.body
  GROUP BY used.channel;
