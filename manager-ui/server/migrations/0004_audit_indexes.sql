-- What an auditor of one organisation, and who looks for one person, reads.
CREATE INDEX audit_organisation ON audit (organisation, seq);
CREATE INDEX audit_actor_name ON audit (actor_name, seq);
