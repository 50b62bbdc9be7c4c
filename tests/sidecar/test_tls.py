"""TLS on the S3 door: what is encrypted, what is refused, and what is taken over while it runs (SEMANTICS A-10)."""

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from e2e.chaos.authorities import Authority
from s3d.cli import client as cli_client
from s3d.door import tls
from s3d.errors import ConfigError
from s3d.metrics import Metrics
from s3d.settings import Gateway
from tests.clients import data_of
from tests.daemons import Daemon, StartDaemon, eventually
from tests.processes import NotStarted
from tests.remotes import Remote

MIB = 1 << 20
QUICK = {"S3D_CLIENT_TIMEOUT": "2s"}
HALF_OPEN = 700


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


class Certified:
    """The files that a door's settings name, and who signs what is put into them."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        directory.mkdir()
        self.authority = authority
        self.certificate, self.key = directory / "tls.crt", directory / "tls.key"
        self.client_ca = directory / "clients.crt"
        self.renew(days=30)

    def renew(self, *, days: int, with_key: bool = True) -> None:
        """Replace both files, each as a whole and one right after the other; or only the certificate."""
        renewed = []
        for made, there in zip(self.authority.certify(days=days), (self.certificate, self.key), strict=True):
            part = there.with_suffix(f"{there.suffix}.part")
            shutil.copy(made, part)
            part.chmod(0o600)
            renewed.append((part, there))
        for part, there in renewed if with_key else renewed[:1]:
            part.replace(there)

    @property
    def settings(self) -> dict[str, str]:
        return {"S3D_TLS_CERT": str(self.certificate), "S3D_TLS_KEY": str(self.key)}

    def trusting(self) -> ssl.SSLContext:
        """What a client has that trusts the authority."""
        return ssl.create_default_context(cafile=self.authority.bundle)


@pytest.fixture
def certified(tmp_path: Path, authority: Authority) -> Certified:
    return Certified(tmp_path / "tls", authority)


@pytest.fixture
def door(remote: Remote, bucket: str, start_daemon: StartDaemon, certified: Certified) -> Daemon:
    return start_daemon(remote, S3D_BUCKETS=bucket, **certified.settings, **QUICK)


def request(
    daemon: Daemon,
    context: ssl.SSLContext,
    method: str,
    path: str,
    body: bytes | None = None,
    port: int = 0,
    **headers: str,
) -> tuple[int, bytes]:
    """One request by hand."""
    connection = http.client.HTTPSConnection("127.0.0.1", port or daemon.port, context=context, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


@contextlib.contextmanager
def recorded(port: int) -> Iterator[tuple[int, bytearray]]:
    """A relay to a port of this machine: its own port, and all bytes that went through it in either direction."""
    seen = bytearray()

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 16):
                seen.extend(block)
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                with client, socket.create_connection(("127.0.0.1", port)) as there:
                    back = threading.Thread(target=carry, args=(there, client))
                    back.start()
                    carry(client, there)
                    back.join()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve, args=(listening,))
        serving.start()
        try:
            yield listening.getsockname()[1], seen
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()


def plain(seen: bytearray, data: bytes) -> bool:
    """Whether one of a dozen stretches of a body went over the wire as it is."""
    return any(data[at : at + 64] in seen for at in range(0, len(data) - 64, len(data) // 12))


def greeted(daemon: Daemon, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection whose handshake is over. Raises SSLError."""
    with contextlib.ExitStack() as opened:
        raw = opened.enter_context(socket.create_connection(("127.0.0.1", daemon.port), timeout=60))
        encrypted = context.wrap_socket(raw, server_hostname="127.0.0.1")
        opened.pop_all()
        return encrypted


def answer_of(one: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    answer = b""
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        while block := one.recv(1 << 16):
            answer += block
    return answer


def serial_of(one: ssl.SSLSocket) -> str:
    certificate = one.getpeercert()
    assert certificate
    return str(certificate["serialNumber"])


def shown(daemon: Daemon, context: ssl.SSLContext) -> str:
    """The serial number of the certificate that a new connection gets."""
    with greeted(daemon, context) as one:
        return serial_of(one)


def scraped(daemon: Daemon, name: str) -> float:
    """The value of a metric."""
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def expiry(daemon: Daemon) -> float:
    return scraped(daemon, "s3d_tls_certificate_expiry_timestamp_seconds")


def resident(daemon: Daemon) -> int:
    """Bytes of memory that the daemon has."""
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


def descriptors(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


@pytest.mark.semantics("A-10")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_no_byte_of_a_body_goes_over_the_wire_as_it_is(
    door: Daemon, remote: Remote, bucket: str, certified: Certified
) -> None:
    """Neither of one that is pending, which lies in a file, nor of one that the remote sends, in large and small."""
    trusting = certified.trusting()
    for name, size in {"small": 4 << 10, "large": 9 * MIB}.items():
        data = data_of(size)
        remote.client().put_object(Bucket=bucket, Key=name, Body=data)
        with recorded(door.port) as (port, seen):
            put = request(
                door, trusting, "PUT", f"/{bucket}/held-{name}", data, port, **{"x-amz-tagging": "s3d.upload=false"}
            )
            assert put[0] == 200
            for key in (f"held-{name}", name):
                assert request(door, trusting, "GET", f"/{bucket}/{key}", port=port) == (200, data)
            assert len(seen) > 3 * size
            assert not plain(seen, data)


@pytest.mark.semantics("A-10")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_the_door_speaks_http_1_by_tls_1_2_or_newer_and_nothing_else(door: Daemon, certified: Certified) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = certified.trusting()
        context.maximum_version = version
        context.set_alpn_protocols(["h2", "http/1.1"])
        with greeted(door, context) as one:
            assert one.selected_alpn_protocol() == "http/1.1"
    older = certified.trusting()
    older.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        older.minimum_version = older.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), greeted(door, older):
        pass
    with socket.create_connection(("127.0.0.1", door.port), timeout=60) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP" not in answer_of(one)


@pytest.mark.semantics("R-7b")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_the_address_of_what_was_made_is_the_one_that_was_asked(
    door: Daemon, bucket: str, certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certified.authority.bundle))
    s3 = door.client()
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    made = s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=parts)
    assert made["Location"].startswith(f"https://127.0.0.1:{door.port}/{bucket}/k")


@pytest.mark.semantics("A-10a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_new_certificate_is_taken_over_beside_running_connections(door: Daemon, certified: Certified) -> None:
    trusting = certified.trusting()
    with greeted(door, trusting) as before:
        first = serial_of(before)
        assert expiry(door) == pytest.approx(time.time() + 30 * 86400, abs=3600)
        certified.renew(days=60)
        eventually(lambda: shown(door, trusting) != first)
        before.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert answer_of(before).startswith(b"HTTP/1.1 200 ")
    assert expiry(door) == pytest.approx(time.time() + 60 * 86400, abs=3600)
    assert door.status()["files"]["certificates"]["error"] == ""


@pytest.mark.semantics("A-10a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_files_that_cannot_be_used_change_nothing_and_are_told_of(door: Daemon, certified: Certified) -> None:
    trusting = certified.trusting()
    first = shown(door, trusting)
    certified.renew(days=60, with_key=False)
    eventually(lambda: "is not the key of" in door.status()["files"]["certificates"]["error"])
    certified.renew(days=-1)
    eventually(lambda: "expired on" in door.status()["files"]["certificates"]["error"])
    certified.key.unlink()
    eventually(lambda: "cannot be read" in door.status()["files"]["certificates"]["error"])
    assert shown(door, trusting) == first
    assert scraped(door, 's3d_reload_failed{file="certificates"}') == 1
    certified.renew(days=90)
    eventually(lambda: shown(door, trusting) != first)
    eventually(lambda: scraped(door, 's3d_reload_failed{file="certificates"}') == 0)
    assert door.output().count("is not taken over") == 3


@pytest.mark.semantics("A-10b")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_with_a_ca_of_clients_only_those_are_served_that_it_has_signed(
    remote: Remote, bucket: str, start_daemon: StartDaemon, certified: Certified, tmp_path: Path
) -> None:
    theirs, others = Authority(tmp_path / "theirs"), Authority(tmp_path / "others")
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **certified.settings, S3D_TLS_CLIENT_CA=str(theirs.bundle))
    known, unknown = certified.trusting(), certified.trusting()
    known.load_cert_chain(*theirs.certify(days=1))
    unknown.load_cert_chain(*others.certify(days=1))
    assert request(daemon, known, "PUT", f"/{bucket}/k", b"x")[0] == 200
    for context in (certified.trusting(), unknown):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            request(daemon, context, "PUT", f"/{bucket}/k", b"x")
    eventually(lambda: scraped(daemon, "s3d_tls_handshake_failures_total") == 2)


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of a ClientHello."""


@pytest.mark.semantics("A-6a", "A-10c")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("begun", [b"", HELLO], ids=["silent", "begun"])
def test_handshakes_that_do_not_end_keep_nobody_out_and_end_themselves(
    door: Daemon, bucket: str, certified: Certified, begun: bytes
) -> None:
    trusting = certified.trusting()
    with contextlib.ExitStack() as stack:
        waiting = []
        for _ in range(HALF_OPEN):
            waiting.append(stack.enter_context(socket.create_connection(("127.0.0.1", door.port), timeout=60)))
            waiting[-1].sendall(begun)
        for number in range(20):
            assert request(door, trusting, "PUT", f"/{bucket}/{number}", b"x")[0] == 200
        for one in waiting:
            assert answer_of(one) == b""
    eventually(lambda: descriptors(door) < 100)


@pytest.mark.semantics("A-6a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_bodies_that_stand_still_behind_tls_cost_little(door: Daemon, bucket: str, certified: Certified) -> None:
    trusting, before = certified.trusting(), resident(door)
    head = f"PUT /{bucket}/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 536870912\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            one = stack.enter_context(greeted(door, trusting))
            one.settimeout(0)
            with contextlib.suppress(ssl.SSLWantWriteError):
                while one.send(head + bytes(300_000)):
                    pass
        for number in range(5):
            assert request(door, trusting, "PUT", f"/{bucket}/{number}", b"x")[0] == 200
        assert resident(door) - before < 75 * MIB


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_an_end_waits_for_no_handshake(door: Daemon) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection(("127.0.0.1", door.port))).sendall(HELLO)
        assert door.terminate() == 0
    assert "Traceback" not in door.output()


PASSWORD = serialization.BestAvailableEncryption(b"secret")
Spoil = Callable[[Certified, Authority], object]


def spoil_key(certified: Certified, _: Authority) -> None:
    key = serialization.load_pem_private_key(certified.key.read_bytes(), None)
    pem = serialization.Encoding.PEM
    certified.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, PASSWORD))


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


WRONG: dict[str, tuple[Spoil, str]] = {
    "expired": (lambda ours, _: ours.renew(days=-1), "S3D_TLS_CERT: the certificate expired on 20"),
    "another's key": (
        lambda ours, other: shutil.copy(other.certify(days=1)[1], ours.key),
        "S3D_TLS_KEY is not the key of S3D_TLS_CERT",
    ),
    "no key": (lambda ours, _: ours.key.unlink(), "tls.key cannot be read: No such file or directory"),
    "open key": (lambda ours, _: ours.key.chmod(0o644), "opens it to others"),
    "password": (spoil_key, "S3D_TLS_KEY: the key has a password"),
    "no certificate": (lambda ours, _: ours.certificate.write_text("x"), "S3D_TLS_CERT: there is no PEM certificate"),
    "key that is none": (lambda ours, _: ours.key.write_text("x"), "S3D_TLS_CERT and S3D_TLS_KEY cannot be used: "),
    "cut certificate": (
        lambda ours, _: ours.certificate.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        "S3D_TLS_CERT and S3D_TLS_KEY cannot be used: ",
    ),
    "no file": (lambda ours, _: replace_by_pipe(ours.key), "tls.key is no regular file"),
    "client CA": (lambda ours, _: ours.client_ca.write_text("x"), "S3D_TLS_CLIENT_CA: "),
}


@pytest.mark.semantics("A-10a")
@pytest.mark.parametrize("name", WRONG)
def test_files_that_cannot_be_used_stop_a_start(name: str, certified: Certified, tmp_path: Path) -> None:
    spoil, said = WRONG[name]
    spoil(certified, Authority(tmp_path / "other"))
    ca = certified.client_ca if certified.client_ca.exists() else None
    settings = Gateway(tls_cert=certified.certificate, tls_key=certified.key, tls_client_ca=ca)
    with pytest.raises(ConfigError) as refused:
        tls.Tls(settings, Metrics())
    assert said in refused.value.message
    assert "PRIVATE" not in refused.value.message


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_start_with_wrong_files_says_so_and_ends(
    remote: Remote, start_daemon: StartDaemon, certified: Certified
) -> None:
    certified.renew(days=-1)
    with pytest.raises(NotStarted, match="the certificate expired on") as refused:
        start_daemon(remote, **certified.settings)
    assert "Traceback" not in str(refused.value)


def test_the_expiry_is_that_of_the_doors_own_certificate(certified: Certified, authority: Authority) -> None:
    certified.renew(days=60)  # the authority ends earlier
    certified.certificate.write_bytes(certified.certificate.read_bytes() + authority.bundle.read_bytes())
    made = tls.Tls(Gateway(tls_cert=certified.certificate, tls_key=certified.key), Metrics())
    assert made.expires_at == pytest.approx(time.time() + 60 * 86400, abs=3600)


@pytest.mark.semantics("A-10d")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_the_command_line_speaks_tls_and_trusts_whom_it_is_told_to(
    door: Daemon, bucket: str, certified: Certified, tmp_path: Path
) -> None:
    bundle, data = str(certified.authority.bundle), data_of(3 * MIB)
    refused = door.cli("ls", bucket)
    assert refused.returncode == 69
    assert b"is not trusted" in refused.stderr
    assert b"AWS_CA_BUNDLE" in refused.stderr
    for name in ("S3D_TLS_CA", "AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        door.settings[name] = bundle
        put = door.cli("put", f"{bucket}/k", stdin=data)
        assert put.returncode == 0, put.stderr
        assert door.cli("get", f"{bucket}/k").stdout == data
        del door.settings[name]
    # What is refused before its body is sent says why.
    door.settings["AWS_CA_BUNDLE"] = bundle
    refused = door.cli("put", "no-such-bucket/k", stdin=data)
    assert refused.returncode == 1
    assert b"NoSuchBucket" in refused.stderr
    door.settings["AWS_CA_BUNDLE"] = str(tmp_path / "none")
    refused = door.cli("ls", bucket)
    assert (refused.returncode, b"AWS_CA_BUNDLE" in refused.stderr) == (2, True)
    # The CA of the remote may be another one than that of the door.
    door.settings["S3D_TLS_CA"] = bundle
    assert door.cli("ls", bucket).returncode == 0
    door.settings |= {"S3D_TLS_CA": str(tmp_path / "none"), "AWS_CA_BUNDLE": bundle}
    refused = door.cli("ls", bucket)
    assert (refused.returncode, b"S3D_TLS_CA" in refused.stderr) == (2, True)
    del door.settings["S3D_TLS_CA"]
    door.settings["S3D_ENDPOINT"] = f"https://localhost:{door.port}"
    assert door.cli("ls", bucket).returncode == 0
    door.settings["S3D_ENDPOINT"] = f"http://localhost:{door.port}"
    assert door.cli("ls", bucket).returncode == 1
    shown = door.cli("status", "--json")
    assert b'"expires_at"' in shown.stdout


@pytest.mark.semantics("A-10e")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_the_command_line_shows_the_certificate_that_a_door_asks_for(
    remote: Remote, bucket: str, start_daemon: StartDaemon, certified: Certified, tmp_path: Path
) -> None:
    theirs = Authority(tmp_path / "theirs")
    certificate, key = theirs.certify(days=1)
    door = start_daemon(remote, S3D_BUCKETS=bucket, **certified.settings, S3D_TLS_CLIENT_CA=str(theirs.bundle))
    door.settings["AWS_CA_BUNDLE"] = str(certified.authority.bundle)
    for arguments, data in ((("ls", bucket), b""), (("put", f"{bucket}/k"), data_of(3 * MIB))):
        refused = door.cli(*arguments, stdin=data)
        assert refused.returncode != 0
        assert b"S3D_TLS_CLIENT_CERT" in refused.stderr, refused.stderr
    assert door.cli("status").returncode == 0, "it asks another socket"
    both = tmp_path / "both.pem"
    both.touch(0o600)
    both.write_bytes(Path(certificate).read_bytes() + Path(key).read_bytes())
    for named in ({"S3D_TLS_CLIENT_CERT": certificate, "S3D_TLS_CLIENT_KEY": key}, {"S3D_TLS_CLIENT_CERT": str(both)}):
        door.settings.update(named)
        put = door.cli("put", f"{bucket}/k", stdin=b"x")
        assert put.returncode == 0, put.stderr
        assert door.cli("get", f"{bucket}/k").stdout == b"x"
        assert door.cli("ls", bucket).returncode == 0
        for name in named:
            del door.settings[name]


WRONG_CERTIFICATES = {
    "no file": ("none.pem", None),
    "no key": ("cert", None),
    "a key of another": ("cert", "other"),
    "a key with a password": ("cert", "locked"),
    "a key alone": (None, "key"),
}


@pytest.mark.semantics("A-10e")
@pytest.mark.parametrize("wrong", WRONG_CERTIFICATES)
def test_a_certificate_that_the_command_line_cannot_use_is_named(
    certified: Certified, tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = WRONG_CERTIFICATES[wrong]
    others = Authority(tmp_path / "others").certify(days=1)
    locked = tmp_path / "locked.key"
    made = serialization.load_pem_private_key(certified.key.read_bytes(), None)
    protected = serialization.BestAvailableEncryption(b"a password")
    locked.write_bytes(made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protected))
    files = {"cert": certified.certificate, "key": certified.key, "other": Path(others[1]), "locked": locked}
    for name, value in (("S3D_TLS_CLIENT_CERT", certificate), ("S3D_TLS_CLIENT_KEY", key)):
        if value is not None:
            monkeypatch.setenv(name, str(files.get(value, tmp_path / value)))
    with pytest.raises(ConfigError, match="S3D_TLS_CLIENT_CERT"):
        cli_client.tls_context()
