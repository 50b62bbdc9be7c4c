
-- Of the tags of buckets one alone was kept: all buckets are asked again.
UPDATE hold SET asked_at = 0;
