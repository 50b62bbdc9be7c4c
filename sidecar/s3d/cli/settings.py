"""The settings that a client of the daemon needs, read without the models of s3d.config.

Those take longer to load than a command may take in all. Names, defaults and the file are the same; what is wrong in
them is the daemon's to say (`s3d run --check`).
"""

import os
from pathlib import Path
from typing import Any

from s3d import documents
from s3d.errors import ConfigError

DEFAULTS = {"S3D_ENDPOINT": "http://localhost:33333", "S3D_METRICS_ENDPOINT": "http://127.0.0.1:33334"}


def find(name: str) -> str:
    """The value of a setting: the environment's, else that of the file which S3D_CONFIG names, else "".

    Raises ConfigError where the file cannot be read.
    """
    return os.environ.get(name) or str(file_values().get(name, ""))


def endpoint(name: str = "S3D_ENDPOINT") -> str:
    """The URL of a door, `http://host[:port]`; the S3 door's may be https. Raises ConfigError where it is none."""
    url = (find(name) or DEFAULTS[name]).rstrip("/")
    allowed = ("http://", "https://") if name == "S3D_ENDPOINT" else ("http://",)
    if not url.startswith(allowed):
        raise ConfigError(f"{name}: {url!r} is not an {allowed[0]} URL", hint=f"for example {DEFAULTS[name]}")
    return url


def local_dir() -> Path:
    """The directory that the daemon owns."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(find("S3D_LOCAL_DIR") or Path(state) / "s3d")


def file_values() -> dict[str, Any]:
    """What S3D_CONFIG holds: a JSON object itself, or the path of a JSON or TOML file."""
    source = os.environ.get("S3D_CONFIG", "").strip()
    if not source:
        return {}
    try:
        text = source if source.startswith("{") else Path(source).read_text(encoding="utf-8")
        values = toml(text) if source.endswith(".toml") else documents.parse(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"S3D_CONFIG cannot be read: {error}", hint="see `s3d run --check`") from None
    return values if isinstance(values, dict) else {}


def toml(text: str) -> dict[str, Any]:
    """Read TOML; its parser is loaded for those alone who have such a file. Raises ValueError."""
    import tomllib

    return tomllib.loads(text)
