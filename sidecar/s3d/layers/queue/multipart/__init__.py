"""Multipart uploads: staged here, joined for who reads them, put together at the remote (SEMANTICS Q-16)."""
