"""Layers: each one an S3 around an S3. Siblings do not import each other."""
