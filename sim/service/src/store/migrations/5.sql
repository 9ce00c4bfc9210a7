
-- What would grow for ever is deleted by age, by device and by account.
CREATE INDEX events_at ON events (at);
CREATE INDEX sessions_account ON sessions (account);
CREATE INDEX receipts_device ON receipts (device);
CREATE INDEX activations_unowned ON activations (created) WHERE account IS NULL;
