"""A remote behind a proxy that the environment names, as boto3 alone would reach it."""

import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients import raw
from tests.daemons import StartDaemon, drained, eventually
from tests.processes import NotStarted
from tests.remotes import Remote

NAMED = "store.invalid"
"""A host that only the proxy knows."""


class Proxy(http.server.ThreadingHTTPServer):
    """A forward proxy that knows one host, and makes no tunnels."""

    daemon_threads = True

    def __init__(self, remote: Remote) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.there = urlsplit(remote.endpoint).netloc
        self.asked: list[tuple[str, str, str]] = []
        """Method, target and Proxy-Authorization of what came."""

    @property
    def where(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request to the proxy."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass_on(self) -> None:
        self.server.asked.append((self.command, self.path, self.headers.get("Proxy-Authorization", "")))
        if self.command == "CONNECT":
            self.send_error(502, "no way there")
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        url = urlsplit(self.path)
        with closing(http.client.HTTPConnection(self.server.there, timeout=60)) as far:
            headers = {
                k: v for k, v in self.headers.items() if k.lower() not in ("proxy-authorization", "expect", "host")
            }
            far.request(self.command, url.path + (f"?{url.query}" if url.query else ""), body, headers)
            answer = far.getresponse()
            document = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "date", "server", "connection"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(document))
            if length is not None and answer.status != 204:
                self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(document)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = do_CONNECT = _pass_on  # noqa: N815 (the server looks for these names)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(remote: Remote) -> Iterator[Proxy]:
    """A proxy that listens."""
    with Proxy(remote) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


SPELLINGS: dict[str, Callable[[str], dict[str, str]]] = {
    "upper case": lambda where: {"HTTP_PROXY": f"http://{where}"},
    "lower case, no scheme": lambda where: {"http_proxy": where},
    "with a password": lambda where: {"HTTP_PROXY": f"http://me:secret@{where}", "NO_PROXY": "elsewhere,10.0.0.1"},
}


@pytest.mark.semantics("R-10", "A-5")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_remote_is_reached_through_the_proxy(
    remote: Remote, bucket: str, start_daemon: StartDaemon, spelling: str
) -> None:
    with serving(remote) as proxy:
        behind = replace(remote, endpoint=f"http://{NAMED}:9000")
        daemon = start_daemon(behind, S3D_BUCKETS=bucket, **SPELLINGS[spelling](proxy.where))
        s3 = daemon.client()
        for key, body in (("small", b"x"), ("large", b"x" * (2 << 20))):
            s3.put_object(Bucket=bucket, Key=key, Body=body)
        eventually(lambda: drained(daemon))
        assert remote.client().get_object(Bucket=bucket, Key="small")["Body"].read() == b"x"
        assert len(s3.get_object(Bucket=bucket, Key="large")["Body"].read()) == 2 << 20
        assert ("PUT", f"http://{NAMED}:9000/{bucket}/small") in [asked[:2] for asked in proxy.asked]
        authorized = {asked[2] for asked in proxy.asked}
        assert authorized == ({"Basic bWU6c2VjcmV0"} if "password" in spelling else {""})
        assert f"through the proxy http://{proxy.where}" in daemon.output()
        assert "secret" not in daemon.output()


@pytest.mark.semantics("R-10")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_what_no_proxy_names_is_reached_directly(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    with serving(remote) as proxy:
        daemon = start_daemon(remote, HTTP_PROXY=f"http://{proxy.where}", NO_PROXY="127.0.0.1")
        daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
        assert not proxy.asked


@pytest.mark.semantics("R-10", "R-6")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_proxy_that_makes_no_connection_is_an_absent_remote(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    with serving(remote) as proxy:
        behind = replace(remote, endpoint=f"https://{NAMED}")
        daemon = start_daemon(behind, S3D_BUCKETS=bucket, HTTPS_PROXY=f"http://{proxy.where}")
        status, headers, _ = raw(daemon, "PUT", f"/{bucket}/k", b"x")
        assert (status, headers["x-s3d-durability"]) == (200, "local")
        eventually(lambda: daemon.status()["remote"]["state"] == "away")
        assert "the proxy makes no connection" in daemon.output()
        assert proxy.asked[0][:2] == ("CONNECT", f"{NAMED}:443")
        # It is known that the remote is away before it is recorded what came of the attempt.
        recorded = {"waiting": 1, "pushing": 0, "in_doubt": 0}
        eventually(lambda: recorded.items() <= daemon.status()["states"].items())


@pytest.mark.semantics("R-10")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "http://", "http://[::1"])
def test_a_proxy_that_speaks_something_else_is_refused_at_start(
    remote: Remote, start_daemon: StartDaemon, proxy: str
) -> None:
    with pytest.raises(NotStarted) as refused:
        start_daemon(remote, HTTP_PROXY=proxy)
    assert "HTTP_PROXY does not name a proxy" in str(refused.value)
