
-- The revocation logs of processes, and how much of each this database has: the
-- first `bytes` bytes, whose SHA-256 is `digest`, are applied. `missing`: this
-- database was restored, and the log has not been replayed since.
CREATE TABLE revocation_logs (
    name BLOB PRIMARY KEY,
    bytes INTEGER NOT NULL,
    digest BLOB NOT NULL,
    seen INTEGER NOT NULL,
    missing INTEGER NOT NULL DEFAULT 0
) STRICT;
