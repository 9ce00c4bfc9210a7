
-- Public halves of the keys that this database belongs to: a process with
-- other keys is refused.
CREATE TABLE owners (name TEXT PRIMARY KEY, public BLOB NOT NULL) STRICT;

-- What is to be handed to others, written with what it tells of: orders to a
-- broker (`order`), security events to a receiver (`event`). A row is deleted
-- when it has been taken.
CREATE TABLE outbox (
    id NUMBERED INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('order', 'event')),
    topic TEXT NOT NULL,
    body BLOB NOT NULL,
    created INTEGER NOT NULL,
    due INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    taker INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_due ON outbox (kind, due);
CREATE INDEX orders_waiting ON orders (activation) WHERE outcome IS NULL;
