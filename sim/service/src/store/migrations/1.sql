CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', 1), ('policy_version', 1);

-- Root-signed delegations; the newest is in force.
CREATE TABLE delegations (version INTEGER PRIMARY KEY, frame BLOB NOT NULL) STRICT;

-- Personal columns are sealed (AES-256-GCM under a key outside the database);
-- email_index is an HMAC, so that a login finds its row.
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    email_index BLOB NOT NULL UNIQUE,
    password TEXT NOT NULL,
    policy INTEGER NOT NULL,
    name BLOB NOT NULL,
    email BLOB NOT NULL,
    payment BLOB NOT NULL,
    address BLOB NOT NULL,
    telephone BLOB NOT NULL,
    profiles BLOB NOT NULL
) STRICT;

CREATE TABLE devices (
    id TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,
    model TEXT NOT NULL,
    kind TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    delegation INTEGER NOT NULL,
    challenge BLOB,
    last_seen INTEGER NOT NULL,
    last_address BLOB
) STRICT;

CREATE TABLE activations (
    id BLOB PRIMARY KEY,
    device TEXT NOT NULL REFERENCES devices (id),
    epoch INTEGER NOT NULL,
    account INTEGER REFERENCES accounts (id),
    phase TEXT NOT NULL CHECK (phase IN ('pending', 'approved', 'active',
        'signed-out', 'removing', 'delivered', 'wiped', 'wipe-failed', 'ended')),
    revoked TEXT CHECK (revoked IN ('removed', 'theft', 'superseded', 'expired')),
    code TEXT,
    pictogram INTEGER NOT NULL,
    created INTEGER NOT NULL,
    approved INTEGER,
    name TEXT,
    remember INTEGER NOT NULL DEFAULT 1,
    policy INTEGER NOT NULL DEFAULT 0,
    series BLOB NOT NULL UNIQUE,
    generation INTEGER NOT NULL DEFAULT 1,
    leased INTEGER,
    chain_gap INTEGER NOT NULL DEFAULT 0,
    wiped INTEGER,
    hidden INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX activations_account ON activations (account);
CREATE INDEX activations_device ON activations (device, epoch);
CREATE INDEX activations_code ON activations (code);

CREATE TABLE orders (
    digest BLOB PRIMARY KEY,
    activation BLOB NOT NULL REFERENCES activations (id),
    key_version INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('deactivate', 'sign-out')),
    frame BLOB NOT NULL,
    created INTEGER NOT NULL,
    outcome TEXT,
    UNIQUE (activation, key_version, seq)
) STRICT;

CREATE TABLE receipts (
    digest BLOB PRIMARY KEY,
    device TEXT NOT NULL REFERENCES devices (id),
    activation BLOB NOT NULL,
    frame BLOB NOT NULL,
    received INTEGER NOT NULL
) STRICT;
CREATE INDEX receipts_activation ON receipts (activation);

-- Ids of sessions and tokens of computers are kept as SHA-256 alone.
CREATE TABLE sessions (
    id BLOB PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts (id),
    csrf TEXT NOT NULL,
    created INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    computer BLOB
) STRICT;

CREATE TABLE computers (
    series BLOB PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts (id),
    token BLOB NOT NULL,
    previous BLOB,
    rotated INTEGER NOT NULL,
    browser TEXT NOT NULL,
    created INTEGER NOT NULL,
    seen INTEGER NOT NULL
) STRICT;
CREATE INDEX computers_account ON computers (account);

CREATE TABLE attempts (
    scope BLOB PRIMARY KEY,
    failures INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    id NUMBERED INTEGER PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts (id),
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    address BLOB
) STRICT;
CREATE INDEX events_account ON events (account, id);
