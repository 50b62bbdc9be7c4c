-- Rows that were written without the rule of truth.sql obey it, too.

UPDATE change SET state = 'superseded' WHERE state IN ('held', 'parked', 'quarantined') AND EXISTS (
    SELECT 1 FROM change AS newer WHERE newer.bucket = change.bucket AND newer.key = change.key
    AND newer.identity = change.identity AND newer.seq > change.seq AND newer.op IN ('put', 'delete', 'complete'));
DELETE FROM change WHERE seq IN (SELECT seq FROM spent);
