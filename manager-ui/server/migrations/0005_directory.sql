-- Where people and their roles come from: `local` is here, `ldap` the directory.
ALTER TABLE people ADD COLUMN source TEXT NOT NULL DEFAULT 'local';
ALTER TABLE grants ADD COLUMN source TEXT NOT NULL DEFAULT 'local';
