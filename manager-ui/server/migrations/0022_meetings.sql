-- When a meeting was told to have begun; 0 of those that went on when this column came.

ALTER TABLE told ADD COLUMN since_ms BIGINT NOT NULL DEFAULT 0;
