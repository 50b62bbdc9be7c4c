-- What version 4 had to delete.
INSERT OR IGNORE INTO garbage SELECT file, upload FROM litter;
DROP TABLE litter;
