-- Who a person is for the provider that proves it: its issuer and its `sub`, which never change, as a
-- login may.
ALTER TABLE people ADD COLUMN subject TEXT;
CREATE UNIQUE INDEX people_subject ON people (subject);
