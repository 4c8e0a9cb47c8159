-- First answers of what was asked for with an Idempotency-Key, for a day.

CREATE TABLE answers (
    -- SHA-256 of who asked and the key.
    id TEXT NOT NULL PRIMARY KEY,
    -- Id of the person, or of the token.
    asker TEXT NOT NULL,
    -- SHA-256 of method, address and body.
    request_hash TEXT NOT NULL,
    -- What is asked for anew before it is told again: a right, and where. None for what is about the
    -- asker alone.
    right_name TEXT,
    organisation TEXT,
    room TEXT,
    -- None until it is known what came of it.
    status BIGINT,
    -- Sealed.
    answer TEXT,
    created_ms BIGINT NOT NULL
);
CREATE INDEX answers_asker ON answers (asker, created_ms);
CREATE INDEX answers_created ON answers (created_ms);
