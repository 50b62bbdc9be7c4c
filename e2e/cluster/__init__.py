"""s3d in a real Kubernetes cluster: installed by its chart, beside an app that knows nothing of it."""
