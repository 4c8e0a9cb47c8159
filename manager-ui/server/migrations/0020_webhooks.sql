-- Who is told by us of what happens, and what became of each telling.

CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    -- Whose rights are asked at each delivery: who set it up last, a person or a token.
    maker TEXT NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    -- `,KIND,KIND,`
    kinds TEXT NOT NULL,
    -- Number of the room, or empty.
    room TEXT NOT NULL,
    -- Sealed, and the one before it while that counts.
    secret TEXT NOT NULL,
    old_secret TEXT,
    old_until_ms BIGINT NOT NULL,
    -- `on`, or why nothing is sent.
    state TEXT NOT NULL,
    -- Since when nothing arrived.
    failing_since_ms BIGINT,
    created_ms BIGINT NOT NULL,
    -- Number of the last event that was looked at.
    seq BIGINT NOT NULL
);
CREATE INDEX webhooks_organisation ON webhooks (organisation);

CREATE TABLE deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    webhook TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    -- Number of the event; its text is read when it is sent.
    seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    -- `waiting`, `delivered`, `dead` or `withheld`.
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    next_ms BIGINT NOT NULL,
    tried_ms BIGINT,
    -- What was answered, or why nothing was.
    status BIGINT,
    problem TEXT,
    answer TEXT,
    UNIQUE (webhook, seq, kind)
);
CREATE INDEX deliveries_due ON deliveries (webhook, state, next_ms);
CREATE INDEX deliveries_waiting ON deliveries (state, created_ms);
