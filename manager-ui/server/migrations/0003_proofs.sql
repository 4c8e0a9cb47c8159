-- Further ways to prove who one is: codes of an authenticator beside the password, and tokens of programs.

CREATE TABLE authenticators (
    person TEXT NOT NULL PRIMARY KEY REFERENCES people (id) ON DELETE CASCADE,
    -- Sealed with the key in the data folder.
    secret TEXT NOT NULL,
    -- The last time step whose code was taken: it and those before count no more (RFC 6238 §5.2).
    step BIGINT NOT NULL DEFAULT 0,
    -- Codes are asked for once a first one was right.
    confirmed BIGINT NOT NULL DEFAULT 0,
    created_ms BIGINT NOT NULL
);

-- What takes the place of an authenticator that is lost, each once.
CREATE TABLE recovery_codes (
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    code_hash TEXT NOT NULL,
    PRIMARY KEY (person, code_hash)
);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    -- SHA-256 of what the program holds.
    secret_hash TEXT NOT NULL UNIQUE,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    revoked_ms BIGINT,
    seen_ms BIGINT,
    -- When a refusal of it was noted last.
    refused_ms BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX tokens_person ON tokens (person);

-- What a token may do at most, of all that its person may do.
CREATE TABLE token_rights (
    token TEXT NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    right_name TEXT NOT NULL,
    PRIMARY KEY (token, right_name)
);
