-- Who was let in by which link: whoever comes back is no second guest.

CREATE TABLE guest_uses (
    id TEXT NOT NULL PRIMARY KEY,
    link TEXT NOT NULL REFERENCES guest_links (id) ON DELETE CASCADE,
    -- SHA-256 of the token by which the guest comes back; none until the controller has let it in.
    token_hash TEXT,
    taken_ms BIGINT NOT NULL
);
CREATE INDEX guest_uses_link ON guest_uses (link, token_hash);
