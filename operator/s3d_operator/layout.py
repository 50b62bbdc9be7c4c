"""What is the same in every pod with a gateway: names, ports, directories and times."""

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""What the API has as JSON: a container, a volume, a pod."""
NAME = "s3d"
WAIT = "s3d-sync-wait"
"""The container that lets an app start when its folder is there."""
DOOR_PORT = 33333
HEALTH_PORT = 33334
# By address and not by name: the SDKs' endpoint rules then put the bucket into the path. `localhost` would become
# `bucket.localhost`, which does not resolve everywhere.
ENDPOINT = f"http://127.0.0.1:{DOOR_PORT}"
TLS_ENDPOINT = f"https://127.0.0.1:{DOOR_PORT}"
LOCAL_DIR = "/var/lib/s3d"
FOLDER_DIR = "/var/lib/s3d-folder"
"""Where the sidecar has the sync folder of a pod with one."""
FOLDERS_DIR = "/var/lib/s3d-folders"
"""Where it has those of a pod with several, each in a directory of its name."""
CONFIG_DIR = "/etc/s3d/config"
CONFIG_FILE = "settings.json"
CONFIG = f"{NAME}-config"
USER = 65534
# What the kubelet needs between the end of the drain and the end of the grace period.
MARGIN_SECONDS = 5
# Start-up waits for a lock that another process holds, at most as long as that one may drain.
STARTUP_SECONDS = 60
# A drain job waits so long for the lock of the pod before it, and is given so long to stop: it stops at once.
DRAIN_GRACE_SECONDS = 30
# What may pass until the operator, woken or in its next round, has told a drain job to stop.
NOTICE_SECONDS = 15
DEFAULT_REGION = "us-east-1"


def folder_dir(name: str, among: int) -> str:
    """Where the sidecar has a sync folder of a pod that has so many."""
    return FOLDER_DIR if among == 1 else f"{FOLDERS_DIR}/{name}"


@dataclass(frozen=True, slots=True)
class Image:
    """The sidecar's image; set by the owner of the cluster, never by a gateway's author."""

    name: str
    pull_policy: str = "IfNotPresent"
