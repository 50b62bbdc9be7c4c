"""The S3 door: HTTP on one side, calls of an S3 on the other."""
