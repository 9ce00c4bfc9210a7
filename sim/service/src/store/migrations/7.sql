
-- Who did what to which device, when. Rows are only added: the triggers refuse
-- every change, and every deletion but that of rows older than the moment that
-- `audit_purge` holds, which `nrd-sim audit purge` writes.
CREATE TABLE audit (
    id NUMBERED INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    outcome TEXT NOT NULL,
    account INTEGER,
    browser BLOB,
    activation BLOB,
    order_digest BLOB,
    number INTEGER
) STRICT;
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_activation ON audit (activation);
