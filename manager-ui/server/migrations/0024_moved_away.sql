-- Id of what went elsewhere from where the event is told; who sees it there is not told that it is gone.

ALTER TABLE events ADD COLUMN moved TEXT;

-- When whoever has this session proved anew who they are, where somebody else proves that; 0 where they did
-- not.

ALTER TABLE sessions ADD COLUMN proved_ms BIGINT NOT NULL DEFAULT 0;

-- Whose a room was that is removed.

CREATE INDEX events_number ON events (number, seq);
