-- Rooms, accounts of terminals, and with whom rooms are shared.

CREATE TABLE rooms (
    id TEXT NOT NULL PRIMARY KEY,
    -- Home: whose room it is.
    organisation TEXT NOT NULL REFERENCES organisations (id),
    number TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    guests BIGINT NOT NULL DEFAULT 0,
    srtp TEXT NOT NULL CHECK (srtp IN ('off', 'allowed', 'required')),
    -- As they are: the controller compares them with what somebody types.
    pin TEXT,
    guest_pin TEXT,
    created_ms BIGINT NOT NULL
);
CREATE INDEX rooms_organisation ON rooms (organisation);

-- What who holds a right at another organisation may do in a room.
CREATE TABLE room_shares (
    room TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    may_view BIGINT NOT NULL,
    may_join BIGINT NOT NULL,
    may_control BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (room, organisation)
);
CREATE INDEX room_shares_organisation ON room_shares (organisation);

CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    username TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX accounts_organisation ON accounts (organisation);

-- Hashes of user, realm and password (RFC 7616 section 3.4.2). No password is kept.
CREATE TABLE account_secrets (
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    realm TEXT NOT NULL,
    algorithm TEXT NOT NULL CHECK (algorithm IN ('MD5', 'SHA-256')),
    ha1 TEXT NOT NULL,
    PRIMARY KEY (account, realm, algorithm)
);

-- Higher with each change of what the controller goes by.
CREATE TABLE directory_head (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    generation BIGINT NOT NULL
);
INSERT INTO directory_head (one, generation) VALUES (1, 0);
