-- What happens, for programs and pages that listen: written with the change that it tells of, kept for
-- days, and shown by the rights that are held when it is read.

CREATE TABLE events (
    seq BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    -- Who holds it, where this happened, is told.
    right_name TEXT NOT NULL,
    -- Where it happened, if what it happened to is there no more; none for the server itself.
    organisation TEXT,
    -- Id of the room, where it has one, and its number.
    room TEXT,
    number TEXT,
    -- Of a room that was removed: with whom it was shared, ids in one text.
    shared TEXT NOT NULL,
    -- Id of what it happened to.
    object TEXT,
    data_json TEXT NOT NULL
);
CREATE INDEX events_at ON events (at_ms);

-- The number of the last one. It outlives the event.
CREATE TABLE events_head (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL
);
INSERT INTO events_head (one, seq, at_ms) VALUES (1, 0, 0);

-- What was told last of meetings and processes, so that the next life of the server tells the rest.
CREATE TABLE told (
    what TEXT NOT NULL PRIMARY KEY,
    state_json TEXT NOT NULL
);
