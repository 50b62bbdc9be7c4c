"""The S3 protocol without I/O: bytes and dicts in, bytes and dicts out.

What an operation looks like comes from botocore's model; only deviations from it are ours (quirks.json).
"""
