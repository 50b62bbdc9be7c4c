"""boto3, aws-cli and the AWS SDK for Java at a door with access keys: the same story as without, and nobody else comes
in.
"""

import json
import random
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from e2e.compat.clients import AwsCli, Boto3, NewClient, Refused
from e2e.compat.java import AwsJava
from e2e.compat.test_clients import tell_story
from tests.daemons import StartDaemon
from tests.remotes import Remote

CLIENTS: dict[str, NewClient] = {"boto3": Boto3, "aws-cli": AwsCli, "aws-java": AwsJava}
SIZES = {"empty": 0, "a b+c": 4 << 10, "in parts": 9 << 20}
ID, SECRET = "S3DTESTKEY", "the/secret+of=a-client"


@pytest.mark.remote
@pytest.mark.semantics("A-2")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.parametrize("name", CLIENTS)
def test_a_stock_client_signs_what_the_door_takes(
    name: str, remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([{"id": ID, "secret": SECRET}]))
    keys.chmod(0o600)
    objects = {key: tmp_path / f"{number}" for number, key in enumerate(SIZES)}
    for key, path in objects.items():
        path.write_bytes(random.Random(key).randbytes(SIZES[key]))
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_ACCESS_KEYS_FILE=str(keys))
    for key_id, secret in ((ID, f"{SECRET}."), (remote.access_key, remote.secret_key)):
        with pytest.raises((ClientError, Refused), match=r"SignatureDoesNotMatch|InvalidAccessKeyId"):
            CLIENTS[name](daemon.endpoint, key_id, secret, bucket).names()
    tell_story(CLIENTS[name](daemon.endpoint, ID, SECRET, bucket), daemon, remote, bucket, objects, objects["a b+c"])
