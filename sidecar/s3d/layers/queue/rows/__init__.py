"""The tables of the write queue, and every statement on them. A file of tables belongs to the module of its name."""
