-- What who holds a right at another organisation may do with a terminal's account.

CREATE TABLE account_shares (
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    may_view BIGINT NOT NULL,
    may_call BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (account, organisation)
);
CREATE INDEX account_shares_organisation ON account_shares (organisation);
