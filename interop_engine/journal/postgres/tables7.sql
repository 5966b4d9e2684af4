DROP FUNCTION IF EXISTS discard(text, text, bigint);
