-- What version 2 changed in the tables of version 1.

ALTER TABLE change ADD COLUMN upload TEXT;
ALTER TABLE change ADD COLUMN former TEXT NOT NULL DEFAULT '[]';
ALTER TABLE change ADD COLUMN rule TEXT NOT NULL DEFAULT '';
ALTER TABLE change ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;
DROP INDEX change_due;
CREATE INDEX change_due ON change (bucket, identity, (size > 8388608 OR attempts > 0), next_at, seq)
    WHERE state = 'waiting' AND op <> 'through';
CREATE INDEX change_unknown ON change (next_at) WHERE state = 'unknown';
CREATE INDEX change_kept ON change (seq) WHERE state IN ('held', 'parked', 'superseded', 'quarantined');
CREATE INDEX change_held ON change (bucket, seq) WHERE state = 'held';
DROP INDEX change_since;
CREATE INDEX change_since ON change (bucket, coalesce(since, seq))
    WHERE op <> 'through' AND state <> 'superseded' AND state <> 'settled';
CREATE INDEX change_settled ON change (next_at) WHERE state = 'settled';
