-- Conditions that the queries of several modules have. Indexes of tables/changes.sql are found by the same words.

-- fragment: pending
-- What reads, barriers and counts are about; the other two are only kept.
state <> 'superseded' AND state <> 'settled'

-- fragment: kept
-- What waits for a person.
state IN {for_a_person}

-- fragment: due
-- What may be claimed when its time has come.
state = 'waiting' AND op <> 'through'

-- fragment: ahead
-- Whether an older change of the key is on its way.
EXISTS (SELECT 1 FROM change AS ahead WHERE ahead.bucket = change.bucket AND ahead.key = change.key
    AND ahead.seq < change.seq AND ahead.state IN {on_the_way})

-- fragment: slow
-- What may keep a worker for long: large (claims.LARGE), or tried before.
(size > 8388608 OR attempts > 0)

-- fragment: age
-- What the age of a change goes by: a row of an older version has but one time.
coalesce(queued_at, acked_at)
