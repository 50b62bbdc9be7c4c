"""Filters: lists of rules that say which objects are queued, pushed, cached or synced (SEMANTICS F). No I/O."""
