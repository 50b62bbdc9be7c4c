"""What the tests of the mount get beside the real remotes and the real daemon."""

from tests.mounts import mount, mount_dir, mounted
from tests.relays import relay

__all__ = ["mount", "mount_dir", "mounted", "relay"]
