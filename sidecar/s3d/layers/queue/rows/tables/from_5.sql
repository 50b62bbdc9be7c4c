-- What version 6 changed in the tables of version 5.

-- No change takes the place of another identity's before it is delivered. What holds no data is made anew behind this file.
DROP TRIGGER IF EXISTS truth_in;
DROP TRIGGER IF EXISTS truth_moved;
DROP VIEW IF EXISTS spent;
