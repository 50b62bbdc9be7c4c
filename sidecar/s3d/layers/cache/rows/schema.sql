-- One version of one object.
CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- never the number of one that is gone: what is noted of that may be written yet
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    version TEXT NOT NULL,   -- the version that requests name; '' for none
    etag TEXT NOT NULL,      -- as the remote writes it, with its quotes
    length INTEGER NOT NULL, -- bytes of the object
    file TEXT NOT NULL,      -- its blocks, each at its own place
    blocks BLOB NOT NULL,    -- 8 bytes for each block: 0, or its CRC plus 1 where it is there
    bytes INTEGER NOT NULL,  -- what the disk gave for the file
    head TEXT,               -- the headers of the latest plain answer, as JSON; NULL: none came yet
    validated REAL NOT NULL, -- when the remote last said that it is this version (steady clock)
    used REAL NOT NULL,      -- when it was last read, a little coarse (steady clock)
    tags TEXT,               -- the tags of the object, as JSON; NULL: nobody asked for them
    UNIQUE (bucket, key, version)
);
-- What goes first, and how much there is in all, is told without a look at the rows.
CREATE INDEX entry_used ON entry (used, bytes);
CREATE INDEX entry_file ON entry (file);

-- To whom the remote has given an object, and when last (steady clock).
CREATE TABLE granted (
    entry INTEGER NOT NULL,
    identity TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (entry, identity)
) WITHOUT ROWID;

-- Files to delete.
CREATE TABLE garbage (file TEXT PRIMARY KEY) WITHOUT ROWID;

CREATE TRIGGER entry_gone AFTER DELETE ON entry BEGIN
    DELETE FROM granted WHERE entry = OLD.id;
    INSERT OR IGNORE INTO garbage VALUES (OLD.file);
END;

-- Whose objects these are (remote), the steady clock (boot, ahead), and the filter that they were judged by (filter).
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
