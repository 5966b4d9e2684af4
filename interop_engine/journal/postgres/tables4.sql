-- The keys the journal is encrypted with, by name and fingerprint.
CREATE TABLE seals (seal text COLLATE "C" PRIMARY KEY);
