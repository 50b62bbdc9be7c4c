"""The names that a person writes or reads in a cluster: the API group, its labels and its annotations."""

GROUP = "s3d.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
S3_GATEWAY = "s3gateways"
SYNC_FOLDER = "syncfolders"
# Label and annotations of a pod, label of a namespace.
INJECT = f"{GROUP}/inject"
INJECTION = f"{GROUP}/injection"
GATEWAY = f"{GROUP}/gateway"
FOLDER = f"{GROUP}/sync-folder"
ENDPOINT_ENV = f"{GROUP}/endpoint-env"
ON_MISSING = f"{GROUP}/on-missing"
EXPENDABLE = f"{GROUP}/expendable"
POD_OVERRIDES = {
    name: f"{GROUP}/{name.replace('_', '-')}"
    for name in ("cpu_request", "cpu_limit", "memory_request", "memory_limit", "drain_seconds")
}
# Label that an injected pod gets, with the gateway's name, and annotations.
INJECTED = f"{GROUP}/injected"
# Label of the pods of drain jobs, beside that one.
DRAINS = f"{GROUP}/drains"
CONFIG_HASH = f"{GROUP}/config-hash"
FOLDER_HASH = f"{GROUP}/sync-folder-hash"
ORIGINAL_GRACE = f"{GROUP}/termination-grace-period-seconds"
