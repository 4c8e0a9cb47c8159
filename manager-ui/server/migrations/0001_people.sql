-- People, where they belong, what they may do, and the record of what they did. The same text runs on
-- SQLite and on PostgreSQL: ids are UUIDs as text, times are milliseconds since 1970, JSON is text.

CREATE TABLE organisations (
    id TEXT NOT NULL PRIMARY KEY,
    parent TEXT REFERENCES organisations (id),
    -- The ids from the root down to this one, each followed by a slash: a subtree is a prefix.
    path TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('region', 'hospital', 'department')),
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX organisations_parent ON organisations (parent);

CREATE TABLE people (
    id TEXT NOT NULL PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    -- As typed, and as compared.
    login TEXT NOT NULL,
    login_key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    -- PHC string; none where another system proves who somebody is.
    password TEXT,
    disabled BIGINT NOT NULL DEFAULT 0,
    failures BIGINT NOT NULL DEFAULT 0,
    locked_until_ms BIGINT NOT NULL DEFAULT 0,
    last_login_ms BIGINT,
    created_ms BIGINT NOT NULL
);
CREATE INDEX people_organisation ON people (organisation);

CREATE TABLE roles (
    id TEXT NOT NULL PRIMARY KEY,
    -- Whose own role it is; none for those that every server has.
    organisation TEXT REFERENCES organisations (id),
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE role_rights (
    role TEXT NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    right_name TEXT NOT NULL,
    PRIMARY KEY (role, right_name)
);

-- Who has which role where; it reaches the whole subtree. A denial holds before any allowance.
CREATE TABLE grants (
    id TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    role TEXT NOT NULL REFERENCES roles (id),
    organisation TEXT NOT NULL REFERENCES organisations (id),
    effect TEXT NOT NULL CHECK (effect IN ('allow', 'deny')),
    created_ms BIGINT NOT NULL,
    UNIQUE (person, role, organisation, effect)
);

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    -- SHA-256 of what the browser holds.
    secret_hash TEXT NOT NULL UNIQUE,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    agent TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL
);
CREATE INDEX sessions_person ON sessions (person);

-- The one link with which the first administrator is made.
CREATE TABLE setup_links (
    secret_hash TEXT NOT NULL PRIMARY KEY,
    created_ms BIGINT NOT NULL
);

CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    -- Who did it; none for the server itself and for who proved nothing.
    actor TEXT,
    actor_name TEXT NOT NULL,
    source TEXT,
    action TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object TEXT,
    -- Whose record it is: who may see what happens there sees it.
    organisation TEXT,
    before_json TEXT,
    after_json TEXT,
    hash TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at_ms);
CREATE INDEX audit_object ON audit (object);
CREATE INDEX audit_actor ON audit (actor);

-- The end of the chain. Its one row is what those who write wait for.
CREATE TABLE audit_head (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_head (one, seq, hash)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
