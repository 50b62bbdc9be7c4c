"""The sync folder: a folder and a prefix of a bucket that are kept equal, both ways (SEMANTICS S)."""
