-- The steady clock that all times of the tables are told by, but those that say otherwise (SEMANTICS D-10). One row.
CREATE TABLE clock (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    boot  TEXT NOT NULL,                          -- the start of the machine within which the clock goes on
    ahead REAL NOT NULL,                          -- seconds from the machine's own count since then to the steady clock
    seen  REAL NOT NULL                           -- steady time that it is known to have shown
);
