-- Whether the composed picture of a room has names and marks.

ALTER TABLE rooms ADD COLUMN captions BIGINT NOT NULL DEFAULT 1;
ALTER TABLE file_rooms ADD COLUMN captions BIGINT NOT NULL DEFAULT 1;
