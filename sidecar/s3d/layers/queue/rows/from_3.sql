-- What version 4 changed in the tables of version 3.

