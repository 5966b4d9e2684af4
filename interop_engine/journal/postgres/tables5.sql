ALTER TABLE attempts ADD COLUMN took bigint NOT NULL DEFAULT 0;  -- microseconds
DROP FUNCTION IF EXISTS settle(text, text, bigint, bigint, text, text, text, bigint, bigint, bigint);
