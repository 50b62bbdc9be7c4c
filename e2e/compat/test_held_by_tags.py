"""What a rule holds leaves when aws-cli gives it other tags. S3D_E2E_SOAK_HOURS makes it a thousand changes."""

import os
import re

import pytest

from e2e.compat.clients import AwsCli, pending, wait_until_drained
from tests.daemons import StartDaemon
from tests.relays import Faults, faults
from tests.remotes import Remote

__all__ = ["faults"]

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
KEYS = [f"k{number:04}" for number in range(1000 if SOAK_HOURS else 20)]
PUBLIC = "TagSet=[{Key=class,Value=public}]"

pytestmark = pytest.mark.timeout(600 + SOAK_HOURS * 3600)


@pytest.mark.semantics("Q-11", "F-4a", "Q-1")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_what_is_held_leaves_once_and_in_order_as_aws_cli_gives_it_other_tags(
    remote: Remote, bucket: str, faults: Faults, start_daemon: StartDaemon
) -> None:
    far = faults(remote)
    settings = {"WORKERS": "1", "PUSH_FILTER": f"{bucket}/*[tag:class=public]", "CONFLICT_CHECK_AFTER": "1h"}
    daemon = start_daemon(far.remote, **{f"S3D_WRITE_QUEUE_{name}": value for name, value in settings.items()})

    def sent() -> list[str]:
        """The keys of the puts that reached the remote, in their order."""
        return re.findall(rf"^PUT /{bucket}/(\w+)", "\n".join(far.stats()["requests"]), re.MULTILINE)

    client = daemon.client()
    for key in KEYS:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode(), Tagging="class=secret")
    assert daemon.status()["pending"]["held"] == pending(daemon) == len(KEYS)
    assert sent() == []
    AwsCli(daemon.endpoint, "Dummy", "Dummy", bucket).run_each(
        ["s3api", "put-object-tagging", "--bucket", bucket, "--key", key, "--tagging", PUBLIC] for key in KEYS
    )
    wait_until_drained(daemon)
    assert sent() == KEYS
    there = remote.client()
    tags = [there.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] for key in KEYS]
    assert tags == [[{"Key": "class", "Value": "public"}]] * len(KEYS)
