"""The index of the cache: what is cached of which object, who may have it, and which files are to be deleted."""
