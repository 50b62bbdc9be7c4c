"""What is on the disk: one database file and one directory of bodies. Mechanism without policy."""
