-- Conditions that the queries of several modules have. Indexes of tables/changes.sql are found by the same words.

-- fragment: pending
-- What reads, barriers and counts are about; the other two are only kept.
state <> 'superseded' AND state <> 'settled'

-- fragment: kept
-- What waits for a person.
state IN {for_a_person}

-- fragment: due
-- What may be claimed when its time has come. What waits for another change is in no index of these.
state = 'waiting' AND op <> 'through' AND after IS NULL AND judged = 1

-- fragment: unjudged
-- What the policy has not said yes to.
judged <> 1

-- fragment: ahead
-- Whether the key is claimed, or an older change of it is on its way. One that waits in a paused lane of another identity is
-- no more in the way of a change than one that is held: it is superseded when the change is delivered (Q-2a). Nor is one
-- that waits for what is kept back.
EXISTS (SELECT 1 FROM change AS ahead WHERE ahead.bucket = change.bucket AND ahead.key = change.key
    AND ahead.seq <> change.seq AND (ahead.state IN {claimed} OR (ahead.seq < change.seq AND ahead.state = 'waiting'
    AND NOT (ahead.identity <> change.identity AND ahead.op <> 'through' AND change.op <> 'through'
    AND ahead.ordered = 0 AND (EXISTS (SELECT 1 FROM lane WHERE lane.bucket = ahead.bucket
    AND lane.identity = ahead.identity AND lane.state = 'paused') OR EXISTS (SELECT 1 FROM change AS named
    WHERE named.seq = ahead.after AND named.state IN {kept_back}))))))

-- fragment: aging
-- What is on its way and waits for no other change: that one's age counts.
state IN {on_the_way} AND after IS NULL

-- fragment: slow
-- What may keep a worker for long: large (claims.LARGE), or tried before.
(size > 8388608 OR attempts > 0)

-- fragment: age
-- What the age of a change goes by: a row of an older version has but one time.
coalesce(queued_at, acked_at)
