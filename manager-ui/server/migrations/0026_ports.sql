-- How the ports of the server are shared out: per cent of it that are kept for a class.

CREATE TABLE port_shares (
    class TEXT NOT NULL PRIMARY KEY,
    percent BIGINT NOT NULL CHECK (percent BETWEEN 0 AND 100)
);
