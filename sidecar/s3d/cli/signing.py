"""What the CLI signs its requests with: a door with access keys takes no others.

The keys file of the door goes first, where S3D_ACCESS_KEYS_FILE names it: its first key. Then comes the key that the
daemon has made for applications (S3D_APP_CREDENTIALS_FILE), then AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, as for
any client. Without any of them, requests are not signed.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from s3d import documents
from s3d.cli import settings
from s3d.errors import ConfigError

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""Of no bytes."""


class Key(NamedTuple):
    """An access key and its secret."""

    id: str
    secret: str


def find() -> Key | None:
    """The key to sign with; None where there is none. Raises ConfigError where the file of keys has none."""
    if path := settings.find("S3D_ACCESS_KEYS_FILE"):
        return first(Path(path))
    if path := settings.find("S3D_APP_CREDENTIALS_FILE"):
        return made_for_apps(Path(path))
    key_id, secret = os.environ.get("AWS_ACCESS_KEY_ID", ""), os.environ.get("AWS_SECRET_ACCESS_KEY", "")
    return Key(key_id, secret) if key_id and secret else None


def first(path: Path) -> Key:
    """The first key of a file, with the newest of its secrets. What is wrong in the file is the daemon's to say."""
    try:
        entries = documents.parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"S3D_ACCESS_KEYS_FILE: {path} cannot be read: {error.strerror}") from None
    except ValueError:
        entries = None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("id"), str) and (secret := newest_secret(entry)):
            return Key(entry["id"], secret)
    raise ConfigError(
        f"S3D_ACCESS_KEYS_FILE: {path} has no key to sign with", hint="`s3d run --check` says what is wrong in it"
    )


def made_for_apps(path: Path) -> Key:
    """The key that the daemon has made for applications."""
    import configparser

    said = configparser.RawConfigParser()
    try:
        said.read_string(path.read_text(encoding="utf-8"))
        return Key(said["default"]["aws_access_key_id"], said["default"]["aws_secret_access_key"])
    except (OSError, ValueError, KeyError, configparser.Error):
        raise ConfigError(
            f"S3D_APP_CREDENTIALS_FILE: {path} has no key to sign with", hint="`s3d run` writes it at its start"
        ) from None


def newest_secret(entry: Mapping[str, Any]) -> str:
    """The newest secret of an entry; "" where it has none."""
    secrets = entry.get("secrets")
    secret = secrets[0] if isinstance(secrets, list) and secrets else entry.get("secret")
    return secret if isinstance(secret, str) else ""


def region() -> str:
    """The region that is signed for; the door takes any."""
    return settings.find("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def sign(
    key: Key | None, method: str, host: str, path: str, query: str, headers: Mapping[str, str], sha256: str
) -> Mapping[str, str]:
    """The headers of a request, signed where there is a key; `sha256` is that of the body in hex, "" for none."""
    if key is None:
        return headers
    # Signing loads what an unsigned command need not wait for.
    from multidict import CIMultiDict

    from s3d.protocol import sigv4

    signed: CIMultiDict[str] = CIMultiDict(headers)
    signed["Host"] = host
    sigv4.sign(
        method=method,
        path=path,
        query=query,
        headers=signed,
        payload_hash=sha256 or EMPTY_SHA256,
        access_key=key.id,
        secret_key=key.secret,
        token=None,
        region=region(),
        now=datetime.now(UTC),
    )
    return dict(signed)
