-- Packs that no state points to any more were kept for ever.
CREATE INDEX sent_pack ON sent (pack);
DELETE FROM packs p WHERE NOT EXISTS (SELECT 1 FROM sent s WHERE s.pack = p.id);

DROP FUNCTION IF EXISTS claim(text, text, bigint, text, bigint, bigint);
DROP FUNCTION IF EXISTS next_due(text, text, bigint);
DROP FUNCTION IF EXISTS prune(bigint, text, bigint);
DROP FUNCTION IF EXISTS settle(text, text, bigint, bigint, text, text, text, bigint, bigint, bigint, bigint);
