"""Who has authenticated over a connection is not displaced by those who have not (SEMANTICS A-6f)."""

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients import raw
from tests.constants import changed
from tests.daemons import Daemon, StartDaemon
from tests.remotes import Remote, client

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)
MAX_CONNECTIONS = 64
HALF_OPEN = 80
FEW = changed({"s3d.connections.MAX_CONNECTIONS": MAX_CONNECTIONS})
KEPT = MAX_CONNECTIONS // 4
ID, SECRET = "S3DTESTKEY", "a-secret-of-the-door"
Ask = Callable[[http.client.HTTPConnection], int]


@pytest.fixture
def guarded(remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    """A door that asks for keys."""
    keys = tmp_path / "keys.json"
    keys.touch(0o600)
    keys.write_text(json.dumps([{"id": ID, "secret": SECRET}]))
    return start_daemon(remote, S3D_BUCKETS=bucket, S3D_ACCESS_KEYS_FILE=str(keys), **FEW)


@contextlib.contextmanager
def connections(daemon: Daemon, count: int) -> Iterator[list[http.client.HTTPConnection]]:
    with contextlib.ExitStack() as stack:
        made = [http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60) for _ in range(count)]
        for one in made:
            stack.callback(one.close)
        yield made


@contextlib.contextmanager
def half_open(daemon: Daemon, most: int) -> Iterator[None]:
    """Connections over which requests begin that never end. All have been taken, and all but `most` displaced."""
    with contextlib.ExitStack() as stack:
        begun = []
        for _ in range(HALF_OPEN):
            begun.append(stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port), timeout=60)))
            with contextlib.suppress(ConnectionError):
                begun[-1].sendall(b"G")
        for one in begun[: HALF_OPEN - most]:
            with contextlib.suppress(ConnectionError):
                assert one.recv(1) == b""
        yield


def asking(url: str) -> Ask:
    """Asks for a URL over a connection; the status. Raises where the connection is gone."""
    parts = urlsplit(url)

    def ask(connection: http.client.HTTPConnection) -> int:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        answer.read()
        return answer.status

    return ask


def signed(daemon: Daemon, bucket: str) -> Ask:
    """Asks for the bucket's region with a signature."""
    s3 = client(daemon.endpoint, ID, SECRET, signature_version="s3v4")
    return asking(s3.generate_presigned_url("get_bucket_location", {"Bucket": bucket}))


@pytest.mark.semantics("A-6f")
def test_half_open_connections_do_not_displace_those_that_have_authenticated(guarded: Daemon, bucket: str) -> None:
    ask = signed(guarded, bucket)
    with connections(guarded, KEPT) as known, connections(guarded, 1) as new:
        assert {ask(one) for one in known} == {200}
        with half_open(guarded, MAX_CONNECTIONS - KEPT):
            assert {ask(one) for one in known} == {200}
            # Who comes now for the first time is not shut out either.
            assert ask(new[0]) == 200


@pytest.mark.semantics("A-6f")
def test_a_request_that_is_refused_keeps_no_connection(guarded: Daemon, bucket: str) -> None:
    ask = asking(f"{guarded.endpoint}/{bucket}?location")
    with connections(guarded, 1) as unknown:
        assert ask(unknown[0]) == 403
        assert unknown[0].sock is not None
        with half_open(guarded, MAX_CONNECTIONS - KEPT), pytest.raises((OSError, http.client.HTTPException)):
            ask(unknown[0])


@pytest.mark.semantics("A-6a")
@pytest.mark.parametrize("daemon", [FEW], indirect=True)
def test_without_keys_the_one_that_waited_for_longest_goes_whoever_it_is(daemon: Daemon, bucket: str) -> None:
    ask = asking(f"{daemon.endpoint}/{bucket}?location")
    with connections(daemon, 1) as first:
        assert ask(first[0]) == 200
        with half_open(daemon, MAX_CONNECTIONS):
            with pytest.raises((OSError, http.client.HTTPException)):
                ask(first[0])
            assert raw(daemon, "GET", f"/{bucket}?location")[0] == 200


@pytest.mark.semantics("A-6f")
def test_those_who_have_authenticated_may_take_all_and_then_the_idle_ones_go(guarded: Daemon, bucket: str) -> None:
    ask = signed(guarded, bucket)
    with connections(guarded, MAX_CONNECTIONS) as known, connections(guarded, 1) as new:
        assert {ask(one) for one in known} == {200}
        assert ask(new[0]) == 200
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(known[0])
        assert {ask(one) for one in known[1:]} == {200}
