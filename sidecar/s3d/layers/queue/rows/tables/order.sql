
-- Which change waits for another one (SEMANTICS Q-21): of the table itself, whatever ends the other one.
-- `after` names a change that is not delivered yet, and is cleared in the transaction that records its delivery. What takes
-- the place of that change is named instead of it; where a person discards it, those that waited for it are parked.

CREATE INDEX change_after ON change (after) WHERE after IS NOT NULL;

-- What was to wait has waited: it is due at once.
CREATE TRIGGER order_settled AFTER UPDATE OF state ON change WHEN NEW.state = 'settled' AND OLD.state <> 'settled'
    AND EXISTS (SELECT 1 FROM change WHERE after = NEW.seq AND after IS NOT NULL)
BEGIN
    UPDATE change SET after = NULL, next_at = coalesce(queued_at, acked_at) WHERE after = NEW.seq AND after IS NOT NULL;
END;

-- The next one of its key; where there is none, that one is delivered.
CREATE TRIGGER order_superseded AFTER UPDATE OF state ON change WHEN NEW.state = 'superseded' AND OLD.state <> 'superseded'
    AND EXISTS (SELECT 1 FROM change WHERE after = NEW.seq AND after IS NOT NULL)
BEGIN
    UPDATE change SET after = (SELECT min(seq) FROM change AS next WHERE next.bucket = NEW.bucket AND next.key = NEW.key
        AND next.seq > NEW.seq AND next.op IN ('put', 'delete', 'complete') AND next.state NOT IN ('superseded', 'settled'))
    WHERE after = NEW.seq AND after IS NOT NULL;
END;

-- A row that goes was delivered, or it is discarded. (One that waits goes where a newer one takes its place: changes.py.)
CREATE TRIGGER order_gone AFTER DELETE ON change WHEN OLD.state <> 'waiting'
    AND EXISTS (SELECT 1 FROM change WHERE after = OLD.seq AND after IS NOT NULL)
BEGIN
    UPDATE change SET state = 'parked', rule = '', code = 'Discarded', after = NULL,
        reason = 'change ' || OLD.seq || ', which must be delivered before it, was discarded'
    WHERE after = OLD.seq AND after IS NOT NULL AND state IN ('waiting', 'held')
        AND OLD.state NOT IN ('pushing', 'in_doubt', 'settled');
    UPDATE change SET after = NULL, next_at = coalesce(queued_at, acked_at) WHERE after = OLD.seq AND after IS NOT NULL;
END;
