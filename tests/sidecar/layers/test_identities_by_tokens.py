"""Identities whose keys a token service gives: MinIO's, for a role, a web identity and a profile (SEMANTICS A-8).

MinIO gives keys to who signs with keys of its own, with all their rights, and to who has a token of an issuer that it
trusts, with the rights of that issuer's role. Here these may read and no more.
"""

import base64
import http.server
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.clients import code_of
from tests.daemons import StartDaemon, drained, eventually
from tests.processes import free_port, running, start, wait_for_http
from tests.remotes import REGION, Remote, client, find_program

CLIENT = "s3d"
"""Whom the issuer's tokens are for."""
ROOT = ("miniouser", "miniosecret")
ROLE = re.compile(r"arn:minio:iam:::role/\S+")
NAMES = ("role", "web", "profile")


class Issuer:
    """Gives tokens, and shows by what key they are signed."""

    def __init__(self, port: int) -> None:
        """Take the port at which it is served."""
        self.url = f"http://127.0.0.1:{port}"
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "kid": "one",
            "alg": "RS256",
            "use": "sig",
            "e": of_number(public.e),
            "n": of_number(public.n),
        }
        self.documents = {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            "/keys": {"keys": [key]},
        }

    def token(self, subject: str) -> str:
        """A token that holds for an hour."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": subject, "iat": now, "exp": now + 3600}
        parts = [text(json.dumps(said).encode()) for said in ({"alg": "RS256", "kid": "one"}, claims)]
        signed = self._key.sign(".".join(parts).encode(), padding.PKCS1v15(), hashes.SHA256())
        return ".".join([*parts, text(signed)])


def text(data: bytes) -> str:
    """Bytes as a token has them."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def of_number(number: int) -> str:
    """A number of a key as a token has it."""
    return text(number.to_bytes((number.bit_length() + 7) // 8))


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer that is served."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(served.documents[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Issuer(server.server_port)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield served
    server.shutdown()
    server.server_close()
    serving.join()


@pytest.fixture
def trusting(issuer: Issuer, tmp_path: Path) -> Iterator[tuple[Remote, str]]:
    """A MinIO that trusts the issuer, and the role that it gives to who has a token: it may read objects."""
    port, console = free_port(), free_port()
    addresses = ["--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"]
    environment = {
        "MINIO_ROOT_USER": ROOT[0],
        "MINIO_ROOT_PASSWORD": ROOT[1],
        "MINIO_UPDATE": "off",
        "MINIO_IDENTITY_OPENID_CONFIG_URL": f"{issuer.url}/.well-known/openid-configuration",
        "MINIO_IDENTITY_OPENID_CLIENT_ID": CLIENT,
        "MINIO_IDENTITY_OPENID_ROLE_POLICY": "readonly",
    }
    endpoint, log = f"http://127.0.0.1:{port}", tmp_path / "minio.log"
    with running(start([find_program("minio"), "server", *addresses, tmp_path / "data"], log, environment)) as program:
        wait_for_http(program, endpoint, status=403)
        eventually(lambda: bool(ROLE.search(log.read_text())))
        role = ROLE.search(log.read_text())
        assert role is not None
        yield Remote("minio", endpoint, *ROOT, program), role[0]


@pytest.mark.semantics("A-8", "A-8b")
def test_a_token_service_gives_each_identity_keys_of_its_own(
    trusting: tuple[Remote, str], issuer: Issuer, tmp_path: Path, start_daemon: StartDaemon
) -> None:
    remote, role = trusting
    bucket, token, profile = "bucket", tmp_path / "token", tmp_path / "config"
    remote.client().create_bucket(Bucket=bucket)
    remote.client().put_object(Bucket=bucket, Key="there", Body=b"there")
    token.write_text("of nobody")
    profile.write_text(f"[profile p]\nrole_arn = {role}\nweb_identity_token_file = {token}\n")
    identities = [
        {"name": "role", "roleARN": "arn:aws:iam::111122223333:role/any", "externalID": "s3d"},
        {"name": "web", "roleARN": role, "webIdentityTokenFile": str(token)},
        {"name": "profile", "profile": "p"},
    ]
    files = {"S3D_ACCESS_KEYS_FILE": tmp_path / "keys.json", "S3D_REMOTE_IDENTITIES_FILE": tmp_path / "identities.json"}
    door = [{"id": f"door-{name}", "secret": f"secret-of-door-{name}", "identity": name} for name in NAMES]
    for path, said in zip(files.values(), (door, identities), strict=True):
        path.touch(0o600)
        path.write_text(json.dumps(said))
    settings = {name: str(path) for name, path in files.items()}
    there = {"AWS_ENDPOINT_URL_STS": remote.endpoint, "AWS_REGION": REGION, "AWS_CONFIG_FILE": str(profile)}
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **settings, **there)
    by = {name: client(daemon.endpoint, f"door-{name}", f"secret-of-door-{name}") for name in NAMES}

    def credentials() -> dict[str, str]:
        return {one["name"]: one["credentials"] for one in daemon.status()["remote"]["identities"]}

    # A role has the rights of the keys that asked for it.
    by["role"].put_object(Bucket=bucket, Key="k", Body=b"by a role")
    by["role"].put_object(Bucket=bucket, Key="k", Body=b"by a role again")
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"by a role again"
    # A token that the service does not take fails those who have it, and nobody else.
    assert code_of(by["web"].get_object, Bucket=bucket, Key="there") == "NoCredentials"
    assert credentials() == {"role": "found", "web": "failing", "profile": "unknown"}
    token.write_text(issuer.token("somebody"))
    eventually(lambda: code_of(by["web"].get_object, Bucket=bucket, Key="there") == "")
    for name in ("web", "profile"):
        assert by[name].get_object(Bucket=bucket, Key="there")["Body"].read() == b"there"
        assert code_of(by[name].put_object, Bucket=bucket, Key="k", Body=b"by another") == "AccessDenied"
        assert code_of(by[name].list_objects_v2, Bucket=bucket) == "AccessDenied"
    assert credentials() == dict.fromkeys(NAMES, "found")
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"by a role again"
    assert issuer.token("x")[:20] not in daemon.output()
