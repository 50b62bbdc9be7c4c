"""The client of Open Policy Agent: what is a decision, what is none, and what is never sent."""

import asyncio
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from e2e.chaos.authorities import Authority
from s3d import config, opa, policy
from s3d.errors import ConfigError
from s3d.filters.match import Subject
from s3d.metrics import Metrics
from s3d.policy import Operation, Verdict
from s3d.settings import Opa, Settings
from tests.policies import ALLOW, Answering, Scripted, agent, answering
from tests.remotes import find_program

ROOT = Path(__file__).parents[2]
SUBJECT = Subject("b", "k", None, {}, {"content-length": "5"}, {}, "")
PUT = policy.question(Operation.PUT, SUBJECT)


async def ask(url: str, question: str = PUT, **settings: Any) -> policy.Answer:
    async with opa.connect(Opa(url=url, **{"timeout": 10.0, **settings}), Metrics()) as client:
        return await client(question)


@pytest.mark.semantics("F-3")
async def test_a_real_opa_decides(tmp_path: Path) -> None:
    with agent(tmp_path, ALLOW.replace("input.operation", 'input.key == "k"')) as there:
        assert (await ask(there.url)).verdict is Verdict.ALLOW
        other = policy.question(Operation.DELETE, Subject("b", "other"))
        assert (await ask(there.url, other)).verdict is Verdict.DENY
        none = await ask(there.url, path="s3d/nothing")
        assert (none.verdict, none.why, none.is_reached) == (Verdict.NONE, "the result is undefined", True)


async def test_a_real_opa_is_asked_over_a_unix_socket(tmp_path: Path) -> None:
    with agent(tmp_path, ALLOW, url=f"unix://{tmp_path}/opa.sock") as there:
        assert (await ask(there.url)).verdict is Verdict.ALLOW


async def test_a_real_opa_with_tls_and_a_token_gets_both_anew_as_the_files_change(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.certify(days=30)
    ca, token = tmp_path / "ca.crt", tmp_path / "token"
    ca.write_bytes(Authority(tmp_path / "another").bundle.read_bytes())
    token.write_text("wrong\n")
    token.chmod(0o600)
    (tmp_path / "authz.rego").write_text(
        'package system.authz\n\ndefault allow := false\n\nallow if input.identity == "right"\n'
    )
    options = ["--tls-cert-file", certificate, "--tls-private-key-file", key]
    options += ["--authentication", "token", "--authorization", "basic", "authz.rego"]
    with agent(tmp_path, ALLOW, *options) as there:
        settings = Opa(url=there.url.replace("http://", "https://"), ca=ca, token_file=token, timeout=10.0)
        async with opa.connect(settings, Metrics()) as client:
            assert client.watched is not None
            refused = await client(PUT)
            assert (refused.verdict, refused.is_reached) == (Verdict.NONE, False)
            ca.write_bytes(authority.bundle.read_bytes())
            await client.watched.look()
            unknown = await client(PUT)
            assert (unknown.verdict, unknown.why) == (Verdict.NONE, "OPA answered with status 401")
            token.write_text("right\n")
            await client.watched.look()
            assert (await client(PUT)).verdict is Verdict.ALLOW
            token.write_text("two words\n")
            await client.watched.look()
            assert "S3D_OPA_TOKEN_FILE holds no token" in client.watched.error
            assert "two words" not in client.watched.error
            assert (await client(policy.question(Operation.DELETE, SUBJECT))).verdict is Verdict.ALLOW


def says(text: str, status: int = 200, **headers: str) -> Answering:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=text.encode(), status=status, headers=headers)

    return answer


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def trickle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"result": true')
    await asyncio.Event().wait()
    raise AssertionError


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"result": true}')
    assert request.transport is not None
    request.transport.close()
    return response


NO_DECISION: Mapping[str, tuple[Answering, str, str]] = {
    "undefined": (says("{}"), "undefined", "the result is undefined"),
    "null": (says('{"result": null}'), "undefined", "the result is no boolean"),
    "a number": (says('{"result": 1}'), "undefined", "the result is no boolean"),
    "a text": (says('{"result": "true"}'), "undefined", "the result is no boolean"),
    "an object": (says('{"result": {"allow": true}}'), "undefined", "the result is no boolean"),
    "a list": (says("[true]"), "error", "what answered is not OPA: it sent no JSON object"),
    "html": (says("<html>true</html>"), "error", "what answered is not OPA: it sent no JSON object"),
    "not json": (says('{"result": true'), "error", "what answered is not OPA: it sent no JSON object"),
    "not text": (says("\udcff".encode(errors="surrogateescape").decode("latin-1")), "error", "what answered is not"),
    "deep": (says("[" * 60000), "error", "what answered is not OPA: it sent no JSON object"),
    "500": (says('{"result": true}', 500), "error", "OPA answered with status 500"),
    "404": (says('{"result": true}', 404), "error", "OPA answered with status 404"),
    "elsewhere": (says('{"result": true}', 307, Location="/"), "error", "OPA answered with status 307"),
    "large": (says('{"result": true}' + " " * (1 << 20)), "error", "OPA answered with more than 65536 bytes"),
    "cut off": (cut, "error", "OPA cannot be reached"),
}


@pytest.mark.semantics("F-3b")
@pytest.mark.parametrize("name", NO_DECISION)
async def test_what_is_no_boolean_in_a_document_is_no_decision_and_is_not_remembered(name: str) -> None:
    answer, counted, why = NO_DECISION[name]
    asked = 0

    async def counting(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return await answer(request)

    metrics = Metrics()
    async with answering(counting) as url, opa.connect(Opa(url=url, timeout=30.0), metrics) as client:
        for _ in range(2):
            found = await client(PUT)
            assert found.verdict is Verdict.NONE
            assert found.why.startswith(why)
    assert asked == 2
    assert metrics.registry.get_sample_value("s3d_opa_requests_total", {"result": counted}) == 2


@pytest.mark.semantics("F-3b")
@pytest.mark.parametrize("answer", [hang, trickle])
async def test_an_answer_that_does_not_come_in_time_is_no_decision(answer: Answering) -> None:
    metrics = Metrics()
    async with answering(answer) as url, opa.connect(Opa(url=url, timeout=0.05), metrics) as client:
        found = await client(PUT)
    assert (found.verdict, found.why, found.is_reached) == (Verdict.NONE, "OPA gave no answer within 0.05 s", False)
    assert metrics.registry.get_sample_value("s3d_opa_requests_total", {"result": "timeout"}) == 1


async def test_nobody_at_the_address_is_no_decision(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:9", f"unix://{tmp_path}/nobody"):
        found = await ask(url)
        assert (found.verdict, found.is_reached) == (Verdict.NONE, False)


async def test_a_decision_is_remembered_by_its_question_its_rule_and_its_opa() -> None:
    scripted = Scripted(lambda asked: asked["key"] == "k")
    settings = Settings()
    async with answering(scripted) as url, opa.connect(settings.opa, Metrics()) as client:
        config.reload(settings, {"S3D_OPA_URL": url})
        other = policy.question(Operation.PUT, Subject("b", "other"))
        for _ in range(3):
            assert ((await client(PUT)).decision, (await client(other)).decision) == ("d1", "d2")
        config.reload(settings, {"S3D_OPA_PATH": "s3d/other"})
        assert (await client(PUT)).decision == "d3"


@pytest.mark.semantics("F-3h")
async def test_a_real_opa_is_asked_about_the_cache_by_a_rule_of_its_own(tmp_path: Path) -> None:
    rego = ALLOW + '\ndefault cache := false\n\ncache if input.operation == "cache"\n'
    with agent(tmp_path, rego) as there:
        settings = Opa(url=there.url, path="s3d/nothing", cache_path="s3d/cache", timeout=10.0)
        async with opa.connect(settings, Metrics()) as client:
            assert (await client.for_cache(policy.question(Operation.CACHE, SUBJECT))).verdict is Verdict.ALLOW
            assert (await client.for_cache(PUT)).verdict is Verdict.DENY
            assert (await client(PUT)).verdict is Verdict.NONE


async def test_the_id_of_a_decision_is_bounded() -> None:
    long = "x" * 5000
    async with answering(says(f'{{"result": false, "decision_id": "{long}"}}')) as url:
        assert (await ask(url)).decision == "x" * 100


@pytest.mark.semantics("F-3")
def test_a_question_has_what_is_listed_and_nothing_else() -> None:
    headers = {
        "content-length": "7",
        "content-type": "text/plain",
        "authorization": "secret",
        "x-amz-security-token": "secret",
        "x-amz-server-side-encryption-customer-key": "secret",
        "x-amz-grant-read": "secret",
    }
    subject = Subject("b", "k", {"team": "secret"}, {"class": "a"}, headers, {"author": "Ada"}, "alice")
    assert policy.question(Operation.PUT, subject) == (
        '{"bucket": "b", "headers": {"content-type": "text/plain"}, "identity": "alice", "key": "k", '
        '"metadata": {"author": "Ada"}, "operation": "put", "size": 7, "tags": {"class": "a"}}'
    )
    assert policy.question(Operation.DELETE, Subject("b", "k")) == '{"bucket": "b", "key": "k", "operation": "delete"}'


def test_the_policy_in_the_document_passes_its_own_tests(tmp_path: Path) -> None:
    blocks = re.findall(r"```rego\n# (\S+)\n(.*?)```", (ROOT / "docs/POLICY.md").read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["s3d.rego", "s3d_test.rego"]
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [find_program("opa"), "test", "-v", *(name for name, _ in blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "PASS: 9/9" in done.stdout) == (0, True), done.stdout + done.stderr


WRONG = {
    "S3D_OPA_URL": ["opa:8181", "ftp://opa", "unix://", "unix:///", "unix:///a?b", "http://user:hush@opa"],
    "S3D_OPA_PATH": ["/s3d/allow", "s3d//allow", "../s3d", "s3d/allow?x", "", "s3d.allow"],
    "S3D_OPA_TIMEOUT": ["0", "-1"],
    "S3D_OPA_FAIL_UPLOAD": ["Closed", "no"],
    "S3D_OPA_CACHE_PATH": ["/s3d/cache", "s3d.cache"],
    "S3D_OPA_FAIL_CACHE": ["Open", "closed"],
}


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_settings_are_refused_and_a_password_is_not_shown(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable) as refused:
        config.load({variable: value})
    assert "hush" not in str(refused.value)


def test_a_token_is_not_sent_in_clear_to_another_machine(tmp_path: Path) -> None:
    token = str(tmp_path / "token")
    with pytest.raises(ConfigError, match="would travel in clear"):
        config.load({"S3D_OPA_URL": "http://opa.opa.svc:8181", "S3D_OPA_TOKEN_FILE": token})
    settings = config.load({"S3D_OPA_URL": "http://127.0.0.1:8181", "S3D_OPA_TOKEN_FILE": token})
    with pytest.raises(ConfigError, match="would travel in clear"):
        config.reload(settings, {"S3D_OPA_URL": "http://opa.opa.svc:8181"})


@pytest.mark.parametrize("content", ["", "two words", "a\x00b", "ünicode"])
def test_a_file_without_a_token_stops_a_start_and_is_not_shown(content: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(content)
    token.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no token") as refused:
        opa.Opa(Opa(url="http://127.0.0.1:1", token_file=token), Metrics())
    assert not content or content not in str(refused.value)


def test_a_token_that_others_can_read_stops_a_start(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("word")
    token.chmod(0o644)
    with pytest.raises(ConfigError, match="holds secrets"):
        opa.Opa(Opa(url="http://127.0.0.1:1", token_file=token), Metrics())
