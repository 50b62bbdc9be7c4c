"""s3d: an S3 gateway beside the application, which keeps it working when the network does not."""

__version__ = "0.1.0"
