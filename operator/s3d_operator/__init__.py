"""The Kubernetes operator of s3d: custom resources, the injection webhook and the reconciler.

It sees of the daemon only its settings, filters and errors.
"""
