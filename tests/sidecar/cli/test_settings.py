import json
from pathlib import Path

import pytest

from s3d.cli import settings
from s3d.config import load
from s3d.errors import ConfigError
from tests.sidecar.cli.conftest import Cli


@pytest.fixture(autouse=True)
def clean(cli: Cli) -> None:
    """No settings but those of the test."""


VALUES = {"S3D_ENDPOINT": "http://127.0.0.1:1", "S3D_METRICS_ENDPOINT": "http://127.0.0.1:2", "S3D_LOCAL_DIR": "/tmp/x"}
SOURCES = {
    "nothing": {},
    "environment": VALUES,
    "object": {"S3D_CONFIG": json.dumps(VALUES)},
    "environment wins": {"S3D_CONFIG": json.dumps(VALUES), "S3D_ENDPOINT": "http://127.0.0.1:3/"},
    "state": {"XDG_STATE_HOME": "/tmp/state"},
}


def assert_same(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S3D_LOCAL_DIR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    gateway = load(environment).gateway
    assert settings.endpoint() == gateway.endpoint
    assert settings.endpoint("S3D_METRICS_ENDPOINT") == gateway.metrics_endpoint
    assert settings.local_dir() == gateway.local_dir


@pytest.mark.parametrize("environment", SOURCES.values(), ids=SOURCES)
def test_a_client_reads_the_settings_as_the_daemon_does(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same(environment, monkeypatch)


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_client_reads_the_file_as_the_daemon_does(
    suffix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / f"s3d.{suffix}"
    lines = [f"{name} = {json.dumps(value)}" for name, value in VALUES.items()]
    path.write_text(json.dumps(VALUES) if suffix == "json" else "\n".join(lines))
    assert_same({"S3D_CONFIG": str(path)}, monkeypatch)


@pytest.mark.parametrize("source", ["no/such/file.json", "{not json"])
def test_a_file_that_cannot_be_read_is_an_error_for_the_person(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3D_CONFIG", source)
    with pytest.raises(ConfigError, match="S3D_CONFIG cannot be read"):
        settings.endpoint()
