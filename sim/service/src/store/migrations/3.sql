
-- The kinds of orders stand in the program alone, which reads each word where it
-- reads the row and refuses an unknown one. While the database listed them too, a
-- new kind needed a new version of every database; SQLite changes a constraint
-- only by making the table again.
CREATE TABLE orders_next (
    digest BLOB PRIMARY KEY,
    activation BLOB NOT NULL REFERENCES activations (id),
    key_version INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    frame BLOB NOT NULL,
    created INTEGER NOT NULL,
    outcome TEXT,
    UNIQUE (activation, key_version, seq)
) STRICT;
INSERT INTO orders_next
    SELECT digest, activation, key_version, seq, kind, frame, created, outcome FROM orders;
DROP TABLE orders;
ALTER TABLE orders_next RENAME TO orders;
CREATE INDEX orders_waiting ON orders (activation) WHERE outcome IS NULL;
