-- Buckets whose tags say something else since, and whose changes are not all judged by it yet (SEMANTICS Q-11).
CREATE TABLE unjudged (bucket TEXT PRIMARY KEY) WITHOUT ROWID;
