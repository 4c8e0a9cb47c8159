-- Whether the composed picture of a room has names and marks, and how many pictures a second.

ALTER TABLE rooms ADD COLUMN captions BIGINT NOT NULL DEFAULT 1;
ALTER TABLE file_rooms ADD COLUMN captions BIGINT NOT NULL DEFAULT 1;
ALTER TABLE rooms ADD COLUMN max_frame_rate BIGINT NOT NULL DEFAULT 30;
ALTER TABLE file_rooms ADD COLUMN max_frame_rate BIGINT NOT NULL DEFAULT 30;
