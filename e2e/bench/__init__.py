"""How fast s3d is, beside the servers and the limits it is compared with, in one run on one machine."""
