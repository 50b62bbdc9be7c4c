"""Calls about one object or a listing, each answered from the queue or handed inward when its turn has come."""
