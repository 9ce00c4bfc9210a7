-- Roots that followed the first, which firmware pins: each with the frame in
-- which the root before it names it.
CREATE TABLE roots (
    version INTEGER PRIMARY KEY,
    public BLOB NOT NULL,
    change BLOB NOT NULL
) STRICT;

-- `version` goes on being the order key's, which never falls. The delegation's
-- own number begins anew under each root; 0 marks those made before roots had
-- versions, whose frames no device reads any more.
ALTER TABLE delegations ADD COLUMN root INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delegations ADD COLUMN number INTEGER NOT NULL DEFAULT 0;

-- Each request states what its device trusts: nothing is remembered of it. What
-- a device lost is what it stated last.
ALTER TABLE devices DROP COLUMN delegation;
ALTER TABLE devices ADD COLUMN lost_session INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN lost_receipt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN lost_delegation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN lost_snapshot INTEGER NOT NULL DEFAULT 0;
