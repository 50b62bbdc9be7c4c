-- What version 3 brought; version 6 gave it another name.
CREATE TABLE shape (
    bucket TEXT NOT NULL, identity TEXT NOT NULL, operation TEXT NOT NULL, members TEXT NOT NULL, verdict TEXT NOT NULL,
    learned_at REAL NOT NULL, PRIMARY KEY (bucket, identity, operation, members)
) WITHOUT ROWID;
