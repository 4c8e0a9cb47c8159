-- Other servers that calls come from and go to.

CREATE TABLE trunks (
    id TEXT NOT NULL PRIMARY KEY,
    -- It is for the rooms there and below.
    organisation TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL UNIQUE,
    address TEXT NOT NULL,
    transport TEXT CHECK (transport IN ('udp', 'tcp', 'tls')),
    domain TEXT,
    username TEXT,
    -- Sealed with the key of the data folder: it has to be read again.
    password TEXT,
    realm TEXT,
    register BIGINT NOT NULL DEFAULT 0,
    expires_s BIGINT NOT NULL DEFAULT 600,
    -- Addresses that its calls come from, a JSON array.
    sources_json TEXT NOT NULL,
    -- Numbers that begin so, and that rooms call, go to it.
    prefix TEXT,
    prepend TEXT NOT NULL DEFAULT '',
    created_ms BIGINT NOT NULL,
    UNIQUE (organisation, prefix)
);

-- Numbers that it calls, and the rooms that they lead to.
CREATE TABLE trunk_numbers (
    trunk TEXT NOT NULL REFERENCES trunks (id) ON DELETE CASCADE,
    number TEXT NOT NULL,
    room TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    PRIMARY KEY (trunk, number)
);
CREATE INDEX trunk_numbers_room ON trunk_numbers (room);
