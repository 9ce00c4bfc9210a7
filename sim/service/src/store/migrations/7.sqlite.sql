
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
WHEN OLD.at >= coalesce((SELECT value FROM meta WHERE key = 'audit_purge'), 0)
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
