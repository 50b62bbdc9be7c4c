-- What all rows take of the disk, counted anew.
INSERT OR REPLACE INTO account SELECT 1, bytes FROM account_anew;
