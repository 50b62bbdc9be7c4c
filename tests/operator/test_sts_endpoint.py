"""A token service that is not AWS's: the sidecar that is built asks it, and takes its keys (SEMANTICS R-10)."""

import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from s3d.errors import ConfigError
from s3d_operator import build, gateway_checks, mounted
from s3d_operator.certs import make_pair
from s3d_operator.spec import S3GatewaySpec
from tests.daemons import StartDaemon, eventually
from tests.operator.goldens import IMAGE
from tests.processes import free_port, running, start
from tests.remotes import Remote

ROLE = "arn:store:iam:::role/photos"
CA = {"caBundle": {"configMapRef": {"name": "corp-ca"}}}


def environment(sts: str, remote: Remote, token: Path, **more: Any) -> dict[str, str]:
    """What the sidecar has in its environment, the token aside, whose file is mounted in a pod."""
    identity = {"webIdentity": {"roleARN": ROLE, "stsEndpoint": sts}}
    spec = S3GatewaySpec.model_validate(
        {"remote": {"endpoint": remote.endpoint, "region": "us-east-1", "credentials": identity, **more}}
    )
    container = build.sidecar(spec, IMAGE, grace_seconds=30, bounds_storage=False)
    built = {entry["name"]: entry["value"] for entry in container["env"] if entry["name"] != "S3D_CONFIG"}
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    return built | none | {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}


def listens(port: int) -> bool:
    """Whether somebody listens on a port; what speaks TLS there is not asked for more."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """The service account's token."""
    path = tmp_path / "token"
    path.write_text("token")
    return path


@pytest.mark.semantics("R-10")
@pytest.mark.checklist(17)
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_the_sidecar_asks_the_token_service_of_the_spec_and_follows_nothing_else(
    remote: Remote, bucket: str, start_daemon: StartDaemon, token: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    others = {"AWS_ENDPOINT_URL": nobody, "AWS_ENDPOINT_URL_S3": nobody}
    daemon = start_daemon(remote, **environment(remote.endpoint, remote, token), **others)
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert daemon.status()["remote"]["credentials"] == "found"


@pytest.mark.semantics("R-10")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_the_token_service_is_trusted_by_the_authorities_of_the_spec(
    remote: Remote, bucket: str, start_daemon: StartDaemon, token: Path, tmp_path: Path
) -> None:
    port, pair = free_port(), make_pair(["localhost"], datetime.now(UTC), timedelta(days=1))
    for name, data in (("tls.crt", pair.certificate), ("tls.key", pair.key), ("ca.crt", pair.authority)):
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    command += ["-c", str(tmp_path / "tls.crt"), "-k", str(tmp_path / "tls.key")]
    told = environment(f"https://localhost:{port}", remote, token, **CA)
    assert Path(told["AWS_CA_BUNDLE"]) == Path(mounted.CA_DIR) / mounted.CA_FILE
    with running(start(command, tmp_path / "log", remote.environment)):
        eventually(lambda: listens(port))
        daemon = start_daemon(remote, **told | {"AWS_CA_BUNDLE": str(tmp_path / "ca.crt")})
        daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
        assert daemon.status()["remote"]["credentials"] == "found"


@pytest.mark.semantics("Q-8", "R-6")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_token_service_that_is_away_is_told_in_a_line(
    remote: Remote, bucket: str, start_daemon: StartDaemon, token: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    daemon = start_daemon(
        remote, **environment(nobody, remote, token) | {"S3D_BUCKETS": bucket, "AWS_MAX_ATTEMPTS": "1"}
    )
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    eventually(lambda: daemon.status()["remote"]["credentials"] == "failing")
    assert "the source of the credentials fails: EndpointConnectionError" in daemon.output()
    assert nobody in daemon.output()
    assert "Traceback" not in daemon.output()


def test_a_token_service_is_named_by_a_url() -> None:
    credentials = {"webIdentity": {"roleARN": ROLE, "stsEndpoint": "http://sts.example.com:99999"}}
    spec = S3GatewaySpec.model_validate({"remote": {"credentials": credentials}})
    with pytest.raises(ConfigError, match=r"spec\.remote\.credentials\.webIdentity\.stsEndpoint: it is not a URL"):
        gateway_checks.check(spec)
