-- What s3d knows of a sync folder.
CREATE TABLE fact (
    name TEXT PRIMARY KEY,  -- marker, remote, paused, accepts; boot, ahead, seen: the clock of the trash
    value TEXT NOT NULL
) WITHOUT ROWID;

-- What both sides had when they were equal last. It cannot be learnt again: without it nothing is ever deleted.
CREATE TABLE base (
    path TEXT PRIMARY KEY,
    etag TEXT NOT NULL,      -- at the remote, without quotes
    sha256 BLOB NOT NULL,
    md5 TEXT NOT NULL,
    size INTEGER NOT NULL,
    former TEXT NOT NULL,    -- ETags that the remote had before, the newest first, with blanks between them
    delivered INTEGER NOT NULL, -- 1: the remote itself was seen to have it, and not only the write queue
    spared INTEGER NOT NULL DEFAULT 0 -- 1: one side has deleted it, and the other keeps it for good
) WITHOUT ROWID;

CREATE INDEX base_content ON base (sha256);

-- Moves that are planned: which path has the content of one that is to be dropped. It tells the two halves of a move
-- from a new file and a delete when a round has made the one, and not the other.
CREATE TABLE moved (
    path TEXT PRIMARY KEY,
    goes_to TEXT NOT NULL
) WITHOUT ROWID;

-- The folder as the last walk found it.
CREATE TABLE here (
    path TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    size INTEGER NOT NULL,   -- this and the next four are the stamp of a file
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    sha256 BLOB,             -- of the file with this stamp; NULL: nobody has read it
    md5 TEXT,
    round INTEGER NOT NULL   -- of the walk that saw it last
) WITHOUT ROWID;
CREATE INDEX here_unread ON here (path) WHERE kind = 'file' AND sha256 IS NULL;

-- The remote as the last whole listing showed it, with what was done there since.
CREATE TABLE there (
    path TEXT PRIMARY KEY,
    etag TEXT NOT NULL,
    size INTEGER NOT NULL,
    changed REAL NOT NULL DEFAULT 0 -- Unix time, by the remote
) WITHOUT ROWID;

-- What the write queue had pending when a listing began: of these the listing says nothing of the remote itself.
CREATE TABLE pending (
    path TEXT PRIMARY KEY
) WITHOUT ROWID;

-- A listing that is under way, or broke off.
CREATE TABLE listing (
    path TEXT PRIMARY KEY,
    etag TEXT NOT NULL,
    size INTEGER NOT NULL,
    changed REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Objects that their tag leaves out, with the version that was asked about.
CREATE TABLE tagged_out (
    path TEXT PRIMARY KEY,
    etag TEXT NOT NULL
) WITHOUT ROWID;

-- What is about to be done in the folder: written before it is done, so that a start can redo or undo it.
CREATE TABLE act (
    id TEXT PRIMARY KEY,     -- of the file in the stage
    path TEXT NOT NULL,
    etag TEXT NOT NULL,      -- of what is pulled; empty for a drop
    new BLOB,                -- sha256 of what is pulled
    md5 TEXT,
    size INTEGER,
    old BLOB                 -- sha256 of what may be replaced or dropped; NULL: nothing
) WITHOUT ROWID;

-- What a pull has replaced or deleted here.
CREATE TABLE trash (
    id TEXT PRIMARY KEY,     -- of the file in the trash
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    at REAL NOT NULL         -- by the clock of the trash, which reads like Unix time
) WITHOUT ROWID;

-- What the last plan left alone.
CREATE TABLE left_alone (
    path TEXT PRIMARY KEY,
    reason TEXT NOT NULL
) WITHOUT ROWID;
