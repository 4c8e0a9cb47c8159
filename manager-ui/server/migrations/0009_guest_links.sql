-- Links by which guests enter a room.

ALTER TABLE rooms ADD COLUMN guest_links BIGINT NOT NULL DEFAULT 0;

CREATE TABLE guest_links (
    id TEXT NOT NULL PRIMARY KEY,
    room TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    -- SHA-256 of what stands in the link.
    secret_hash TEXT NOT NULL UNIQUE,
    -- Whom it is for; none where guests say their name themselves.
    name TEXT,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    revoked_ms BIGINT,
    -- How many it lets in; none for any number.
    max_uses BIGINT,
    uses BIGINT NOT NULL DEFAULT 0,
    seen_ms BIGINT
);
CREATE INDEX guest_links_room ON guest_links (room);
