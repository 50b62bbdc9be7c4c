"""Where keys come from fails: writes are taken, reads say why not, nothing ends, and all is delivered afterwards.

The remote raises what its seam says and nothing else: with no keys it is as with no remote (R-6). A refusal whose
`Date` is out of this world teaches no clock.
"""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from s3d.errors import S3Error
from s3d.layers.credentials import Chain, Credentials, Keys
from tests.callers import Answer
from tests.clients import raw
from tests.daemons import StartDaemon, drained, eventually
from tests.fakes.contents import Bucket
from tests.gateways import Gateway, gateway
from tests.processes import free_port
from tests.remotes import Remote
from tests.sidecar.layers.queue.push.odd_answers import XML, s3_error
from tests.sidecar.layers.test_answers_early import as_remote
from tests.stores import Odd, Store, until

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """The SDK, which is loaded here as at a daemon's start, reads its files on the loop."""


FAILURES = {
    "exit 1": "exit 1",
    "garbage": "echo this is no JSON",
    "nothing": "true",
    "no keys": "echo '{\"Version\": 1}'",
    "another version": "echo '{\"Version\": 9}'",
    "a list": "echo '[]'",
    "bytes that are no text": "printf '\\377\\376'",
    "killed": "kill -9 $$",
}
"""What a credential_process does."""
AGENT = {
    "500": (500, "oops"),
    "403": (403, '{"message": "no"}'),
    "404 text": (404, "default backend - 404"),
    "200 html": (200, "<html></html>"),
    "200 nothing": (200, ""),
    "200 {}": (200, "{}"),
    "200 list": (200, "[]"),
}
"""What an agent of a container answers."""


def keys() -> str:
    """Keys as both sources say them."""
    until_then = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = {"AccessKeyId": "Dummy", "SecretAccessKey": "Dummy", "Token": "t", "SessionToken": "t"}
    return json.dumps({"Version": 1, **said, "Expiration": until_then})


class Process:
    """A credential_process."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch | None) -> None:
        self._script = directory / "keys.sh"
        profile = directory / "config"
        profile.write_text(f"[default]\ncredential_process = /bin/sh {self._script}\n")
        self.environment = {"AWS_CONFIG_FILE": str(profile), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        for name, value in self.environment.items() if patch else ():
            patch.setenv(name, value) if value else patch.delenv(name)  # type: ignore[union-attr]

    def does(self, what: str) -> None:
        """Let it do this from now on."""
        self._script.write_text(what + "\n")

    def works(self) -> None:
        """Let it say keys."""
        self.does(f"echo '{keys()}'")


class Agent(contextlib.AbstractContextManager["Agent"]):
    """The agent that a container asks for its keys."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.answer = (500, "")
        agent = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = agent.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{self._server.server_port}/keys")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def a_store() -> Iterator[Store]:
    """A store with a bucket."""
    store = Store()
    store.fake.buckets["b"] = Bucket("b", 0.0)
    yield store


async def lives_without_keys(here: Gateway, store: Store) -> None:
    """Writes are taken, reads are 503 with a hint, and nothing reaches the store."""
    for number in range(3):
        answer = await here.ask("PutObject", {"Bucket": "b", "Key": f"k{number}"}, b"1")
        assert isinstance(answer, Answer), answer
        assert answer.headers["x-s3d-durability"] == "local"
    for operation, params in (("GetObject", {"Key": "other"}), ("HeadObject", {"Key": "other"}), ("ListBuckets", {})):
        read = await here.ask(operation, params if operation == "ListBuckets" else {"Bucket": "b", **params})
        assert isinstance(read, S3Error), read
        assert read.status == 503
        assert operation == "HeadObject" or read.hint or "AWS_ACCESS_KEY_ID" in str(read) or "credential" in str(read)
    assert (await here.ask("GetObject", {"Bucket": "b", "Key": "k0"})).data == b"1"  # type: ignore[union-attr]
    assert here.far.identities.own.credentials.state in ("missing", "failing")
    assert store.data("b", "k0") is None


async def delivers(store: Store) -> None:
    """All arrives."""
    await until(lambda: all(store.data("b", f"k{number}") == b"1" for number in range(3)), what="a delivery")


@pytest.mark.semantics("Q-8", "R-6")
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_process_that_says_no_keys(failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path, monkeypatch)
    process.does(FAILURES[failure])
    with a_store() as store:
        async with store, gateway(tmp_path / "local", store, ("b",)) as here:
            await lives_without_keys(here, store)
            process.works()
            await delivers(store)


@pytest.mark.semantics("Q-8", "R-6")
@pytest.mark.parametrize("failure", AGENT)
async def test_an_agent_that_says_no_keys(failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Agent(monkeypatch) as agent, a_store() as store:
        agent.answer = AGENT[failure]
        async with store, gateway(tmp_path, store, ("b",)) as here:
            await lives_without_keys(here, store)
            agent.answer = (200, keys())
            await delivers(store)


@pytest.mark.semantics("Q-8", "R-6")
async def test_a_token_service_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with a_store() as store:
        async with store, gateway(tmp_path / "local", store, ("b",)) as here:
            await lives_without_keys(here, store)


@pytest.mark.semantics("Q-8", "R-6")
async def test_no_keys_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with a_store() as store:
        async with store, gateway(tmp_path, store, ("b",)) as here:
            await lives_without_keys(here, store)


@pytest.mark.semantics("Q-8", "R-6")
def test_a_daemon_without_keys_lives_and_says_so(tmp_path: Path, start_daemon: StartDaemon) -> None:
    process = Process(tmp_path, None)
    process.does("exit 1")
    store = Store()
    store.port = free_port()
    store.fake.buckets["b"] = Bucket("b", 0.0)
    with store.serving():
        settings = {**process.environment, "S3D_BUCKETS": "b"}
        daemon = start_daemon(as_remote(store), **settings)
        status, headers, _ = raw(daemon, "PUT", "/b/k", b"1")
        assert (status, headers["x-s3d-durability"]) == (200, "local")
        status, headers, document = raw(daemon, "GET", "/b/other")
        assert status == 503
        assert "Retry-After".lower() in headers
        assert b"credential" in document
        assert daemon.status()["remote"]["credentials"] in ("missing", "failing")
        daemon.kill()
        daemon.start()
        assert raw(daemon, "PUT", "/b/l", b"2")[0] == 200
        process.works()
        eventually(lambda: drained(daemon))
        assert (store.data("b", "k"), store.data("b", "l")) == (b"1", b"2")
        assert "Traceback" not in daemon.output()


TOKEN_SERVICES = {
    "its own variable": {"AWS_ENDPOINT_URL_STS": "{there}"},
    "the variable of all services": {"AWS_ENDPOINT_URL": "{there}"},
    "beside those that point to s3d": {
        "AWS_ENDPOINT_URL_STS": "{there}",
        "AWS_ENDPOINT_URL": "http://localhost:{port}",
        "AWS_ENDPOINT_URL_S3": "http://localhost:{port}",
    },
    "the profile": {"AWS_CONFIG_FILE": "{profile}"},
}
"""How the SDK is told where the token service is."""


@pytest.mark.semantics("R-10")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("named", TOKEN_SERVICES)
def test_a_token_service_is_asked_where_the_sdk_is_told_so(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path, named: str
) -> None:
    token, profile, port = tmp_path / "token", tmp_path / "profile", free_port()
    token.write_text("token")
    profile.write_text(f"[default]\nservices = x\n[services x]\nsts =\n  endpoint_url = {remote.endpoint}\n")
    there = {
        name: value.format(there=remote.endpoint, port=port, profile=profile)
        for name, value in TOKEN_SERVICES[named].items()
    }
    daemon = start_daemon(
        remote,
        S3D_ENDPOINT=f"http://127.0.0.1:{port}",
        AWS_ACCESS_KEY_ID="",
        AWS_SECRET_ACCESS_KEY="",
        AWS_WEB_IDENTITY_TOKEN_FILE=str(token),
        AWS_ROLE_ARN="arn:aws:iam::123456789012:role/role",
        **there,
    )
    daemon.port = port
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert daemon.status()["remote"]["credentials"] == "found"


DATES = {
    "the year 9999": "Fri, 31 Dec 9999 23:59:59 GMT",
    "the year 1": "Mon, 01 Jan 0001 00:00:00 GMT",
    "1970": "Thu, 01 Jan 1970 00:00:00 GMT",
    "2106": "Sun, 07 Feb 2106 06:28:15 GMT",
    "a zone out of this world": "Sat, 28 Nov 2026 10:00:00 +9999",
    "a day that is none": "Xyz, 99 Foo 2026 99:99:99 GMT",
    "garbage": "soon",
    "nothing": "",
}


@pytest.mark.semantics("Q-8", "Q-3a")
@pytest.mark.parametrize("date", DATES)
async def test_a_refusal_with_a_far_date_teaches_no_clock(date: str, tmp_path: Path) -> None:
    with a_store() as store:
        async with store, gateway(tmp_path, store, ("b",)) as here:
            assert isinstance(await here.ask("PutObject", {"Bucket": "b", "Key": "warm"}, b""), Answer)
            await until(lambda: here.state("b", "warm") == "delivered")
            store.date = lambda: DATES[date]
            hook = store.hook(Odd(403, XML, s3_error(403, "AccessDenied").body))
            assert isinstance(await here.ask("PutObject", {"Bucket": "b", "Key": "k0"}, b"1"), Answer)
            assert isinstance(await here.ask("GetObject", {"Bucket": "b", "Key": "other"}), S3Error)
            await until(lambda: hook.hits >= 3)
            store.clear()
            store.seen.clear()
            for number in (1, 2):
                assert isinstance(await here.ask("PutObject", {"Bucket": "b", "Key": f"k{number}"}, b"1"), Answer)
            await delivers(store)
            signed = {datetime.strptime(one.headers["x-amz-date"], "%Y%m%dT%H%M%S%z") for one in store.seen}
            assert max(abs(when - datetime.now(UTC)) for when in signed) < timedelta(minutes=15)


async def test_the_profile_of_an_identity_is_that_of_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[p]\naws_access_key_id = AKP\naws_secret_access_key = secret-of-p\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    chain = Chain("eu", needed=False)
    assert await Credentials(chain.of_profile("p")).find() == Keys("AKP", "secret-of-p", None), "not the environment's"
    with pytest.raises(S3Error, match="source of the credentials"):
        await Credentials(chain.of_profile("q")).find()
