-- Which change of a key is the truth (SEMANTICS Q-9b): of the table itself, whatever happened in whatever order.
-- A change that is held, parked or quarantined and has a newer put, delete or completed upload of its key and its identity
-- is superseded, in the transaction in which either comes to be; one of another identity does that when it is delivered
-- (Q-2a, transitions.py). A held one is dropped then, as one that waits is (Q-2); of those that stay for a person only
-- the newest of a key and an identity does, but for damaged ones (D-4).

-- What a change that is superseded knew, the next one of its key knows from then on: the attempts that may still arrive
-- (Q-3), and that barriers which waited for it wait for this one.
CREATE TRIGGER truth_handed AFTER UPDATE OF state ON change WHEN NEW.state = 'superseded' AND OLD.state <> 'superseded' BEGIN
    UPDATE change SET since = min(coalesce(since, seq), coalesce(NEW.since, NEW.seq)), late_writes = (
        SELECT json_group_array(json_array(etag, at)) FROM (
            SELECT value ->> 0 AS etag, max(value ->> 1) AS at FROM (
                SELECT value FROM json_each(iif(json_valid(change.late_writes), change.late_writes, '[]'))
                UNION ALL SELECT value FROM json_each(iif(json_valid(NEW.late_writes), NEW.late_writes, '[]'))
            ) GROUP BY etag
        )
    )
    WHERE seq = (SELECT min(seq) FROM change WHERE bucket = NEW.bucket AND key = NEW.key AND seq > NEW.seq
        AND op IN ('put', 'delete', 'complete') AND state <> 'superseded');
END;

-- Superseded changes that nobody keeps. The rule is that of a held one.
CREATE VIEW spent AS SELECT seq, bucket, key FROM change
    WHERE state = 'superseded' AND code <> 'CorruptBody' AND (rule <> '' OR EXISTS (
        SELECT 1 FROM change AS newer WHERE newer.bucket = change.bucket AND newer.key = change.key
        AND newer.identity = change.identity AND newer.seq > change.seq AND newer.state = 'superseded'
        AND newer.code <> 'CorruptBody' AND newer.rule = ''
    ));

CREATE TRIGGER truth_in AFTER INSERT ON change WHEN NEW.op IN ('put', 'delete', 'complete') AND EXISTS (
    SELECT 1 FROM change WHERE bucket = NEW.bucket AND key = NEW.key AND seq < NEW.seq
    AND state IN ('held', 'parked', 'quarantined') AND identity = NEW.identity
) BEGIN
    UPDATE change SET state = 'superseded' WHERE bucket = NEW.bucket AND key = NEW.key AND seq < NEW.seq
        AND state IN ('held', 'parked', 'quarantined') AND identity = NEW.identity;
    DELETE FROM change WHERE seq IN (SELECT seq FROM spent WHERE bucket = NEW.bucket AND key = NEW.key);
END;
CREATE TRIGGER truth_moved AFTER UPDATE OF state ON change WHEN NEW.state IN ('held', 'parked', 'quarantined') AND EXISTS (
    SELECT 1 FROM change WHERE bucket = NEW.bucket AND key = NEW.key AND seq > NEW.seq
    AND op IN ('put', 'delete', 'complete') AND identity = NEW.identity
) BEGIN
    UPDATE change SET state = 'superseded' WHERE seq = NEW.seq;
    DELETE FROM change WHERE seq IN (SELECT seq FROM spent WHERE bucket = NEW.bucket AND key = NEW.key);
END;
