-- What the rows of version 4 take of the disk.

INSERT OR REPLACE INTO account SELECT 1, bytes FROM account_anew;
