"""The two doors for whoever looks after s3d: health, readiness, metrics and status.

The metrics door listens on S3D_METRICS_ENDPOINT, in a pod on the pod's address: it is read-only and shows counts, never
a bucket or a key (SEMANTICS A-7). What names them is answered on the unix socket in the local dir only, which nobody
but its owner may open, and so is what changes anything, by POST.
"""
