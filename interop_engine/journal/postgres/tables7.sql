ALTER TABLE messages ADD COLUMN resend boolean NOT NULL DEFAULT false;  -- of a replay: what its receivers have is sent again too
DROP FUNCTION IF EXISTS discard(text, text, bigint);
DROP FUNCTION IF EXISTS replay(text, text, text, text, boolean, boolean, bigint);
DROP FUNCTION IF EXISTS receive_again(messages, text, text, text, boolean, bigint);
