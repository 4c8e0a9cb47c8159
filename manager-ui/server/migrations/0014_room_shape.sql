-- What pictures a room has, and how many sites it takes; none for what the server has.

ALTER TABLE rooms ADD COLUMN layout TEXT NOT NULL DEFAULT 'equal';
ALTER TABLE rooms ADD COLUMN max_height BIGINT;
ALTER TABLE rooms ADD COLUMN max_legs BIGINT;
