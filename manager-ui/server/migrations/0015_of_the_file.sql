-- Rooms and accounts of the configuration file, written anew at each start: shown beside what was made
-- here, and changed in the file alone. They belong to the organisation at the root.

CREATE TABLE file_rooms (
    number TEXT NOT NULL PRIMARY KEY,
    guests BIGINT NOT NULL,
    srtp TEXT NOT NULL,
    has_pin BIGINT NOT NULL,
    has_guest_pin BIGINT NOT NULL,
    layout TEXT NOT NULL,
    max_height BIGINT,
    max_legs BIGINT
);

CREATE TABLE file_accounts (username TEXT NOT NULL PRIMARY KEY);
