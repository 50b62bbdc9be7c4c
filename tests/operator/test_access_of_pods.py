import base64
import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.config import incluster_config

from s3d.errors import ConfigError
from s3d_operator import access
from s3d_operator.access import find_access, read_kubeconfig
from s3d_operator.certs import make_pair
from s3d_operator.kube import PODS, ApiError, Kube
from s3d_operator.observed import connection
from tests.operator.apiserver import ApiServer, serving


def kubeconfig(tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any]) -> str:
    path = tmp_path / "config"
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"} | cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def plugin(tmp_path: Path, status: dict[str, Any]) -> dict[str, Any]:
    """A user whose credentials an exec plugin prints: a program that reads them from a file."""
    given, program = tmp_path / "credentials.json", tmp_path / "plugin.py"
    head = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    given.write_text(json.dumps(head | {"status": status}))
    program.write_text("import pathlib, sys\nprint(pathlib.Path(sys.argv[1]).read_text())\n")
    return {"exec": {"apiVersion": head["apiVersion"], "command": sys.executable, "args": [str(program), str(given)]}}


async def test_a_kubeconfig_may_hold_its_certificates_or_name_their_files(tmp_path: Path) -> None:
    pair = make_pair(["127.0.0.1"], datetime.now(UTC), timedelta(days=1))
    authority = tmp_path / "ca.crt"
    authority.write_bytes(pair.authority)
    user = {
        "client-certificate-data": base64.b64encode(pair.certificate).decode(),
        "client-key-data": base64.b64encode(pair.key).decode(),
    }
    found = await read_kubeconfig(kubeconfig(tmp_path, user, {"certificate-authority": "ca.crt"}))
    assert found.namespace == "shop"
    assert found.configuration.verify_ssl
    assert found.configuration.ssl_ca_cert == str(authority)
    context = connection(found).as_ssl_context()
    assert len(context.get_ca_certs()) == 1, "kopf takes them, and the certificate with its key"


async def test_a_proxy_of_the_kubeconfig_is_used_by_both_clients(tmp_path: Path) -> None:
    found = await read_kubeconfig(kubeconfig(tmp_path, {"token": "t"}, {"proxy-url": "http://127.0.0.1:3128"}))
    assert found.configuration.proxy == connection(found).proxy_url == "http://127.0.0.1:3128"


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({}, "gives no credentials for https://127.0.0.1:6443"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere"}}, "gives no credentials"),
        ({"exec": {"command": "true"}}, "gives no credentials"),
        ({"client-certificate": "nowhere", "client-key": "nowhere"}, "cannot be used"),
    ],
)
async def test_a_kubeconfig_without_usable_credentials_is_the_users_error(
    tmp_path: Path, user: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError, match=words):
        await read_kubeconfig(kubeconfig(tmp_path, user, {}))
    if "exec" in user:
        assert [record.levelno for record in caplog.records] == [logging.ERROR], "the log says what the plugin said"


@pytest.mark.parametrize("text", [None, "", "current-context: here", "[", "a: b", "[1, 2]"])
async def test_a_kubeconfig_that_cannot_be_read_is_the_users_error(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match="config"):
        await read_kubeconfig(str(path))


async def test_without_a_server_the_person_is_told_how_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError) as caught:
        await find_access()
    assert "KUBECONFIG" in caught.value.hint


async def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("token", "first"), ("ca.crt", "ca"), ("namespace", "s3d-system\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(access, "NAMESPACE", tmp_path / "namespace")
    found = await find_access()
    assert found.configuration.host == "https://[fd00::1]:443"
    assert found.namespace == "s3d-system"
    assert await found.configuration.get_api_key_with_prefix("BearerToken") == "bearer first"
    (tmp_path / "token").write_text("second")
    assert connection(await find_access()).token == "second"


class Guarded(ApiServer):
    """An API server that knows one token."""

    token = "first"

    async def answer(self, request: Any) -> Any:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return access_denied()
        return await super().answer(request)


def access_denied() -> Any:
    from aiohttp import web

    return web.json_response({"kind": "Status", "code": 401, "message": "Unauthorized"}, status=401)


async def test_an_exec_plugin_is_asked_again_when_the_server_knows_its_token_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Guarded()
    async with serving(api) as server:
        user = plugin(tmp_path, {"token": "first"})
        monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, user, {"server": server.configuration.host}))
        async with Kube(await find_access(), find_access) as kube:
            await kube.list(PODS)
            api.token = "second"
            plugin(tmp_path, {"token": "second"})
            with pytest.raises(ApiError, match="401: Unauthorized"):
                await kube.list(PODS)
            await kube.list(PODS)


async def test_an_exec_plugin_is_asked_again_before_its_token_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Guarded()
    async with serving(api) as server:
        user = plugin(tmp_path, {"token": "first", "expirationTimestamp": "2026-01-01T00:00:00Z"})
        monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, user, {"server": server.configuration.host}))
        found = await find_access()
        assert found.expires == datetime(2026, 1, 1, tzinfo=UTC)
        assert connection(found).expiration == found.expires
        api.token = "second"
        plugin(tmp_path, {"token": "second"})
        async with Kube(found, find_access) as kube:
            await kube.list(PODS)
