"""The policy that is asked what may leave, and what the read cache may keep."""

import re
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from s3d.settings.section import Section, setting
from s3d.settings.values import Duration, check_http_url


class Opa(Section):
    """The policy that is asked what may leave, and what the read cache may keep."""

    title = "Open Policy Agent"
    url: str | None = setting(
        "S3D_OPA_URL",
        None,
        "URL of an Open Policy Agent, http(s)://HOST:PORT or unix:///PATH, that is asked before a change is pushed "
        "(docs/POLICY.md). Unset: nobody is asked.",
        reloads=True,
        validate_default=False,
    )
    path: str = setting(
        "S3D_OPA_PATH",
        "s3d/allow",
        "Path of the rule that is asked, below /v1/data/. Its value is true or false; anything else is no decision.",
        reloads=True,
    )
    timeout: Duration = setting(
        "S3D_OPA_TIMEOUT", 0.5, "How long an answer may take. Then there is no decision.", reloads=True, gt=0
    )
    fail_upload: Literal["closed", "open"] = setting(
        "S3D_OPA_FAIL_UPLOAD",
        "closed",
        "What becomes of a change of which there is no decision: closed holds it and asks again, open pushes it.",
        reloads=True,
    )
    cache_path: str | None = setting(
        "S3D_OPA_CACHE_PATH",
        None,
        "Path of the rule that is asked what the read cache may keep, below /v1/data/, such as s3d/cache. Unset: "
        "nobody is asked about that.",
        reloads=True,
    )
    fail_cache: Literal["open", "closed"] = setting(
        "S3D_OPA_FAIL_CACHE",
        "open",
        "What the read cache does with an object of which there is no decision: open keeps it and answers from it, "
        "closed does neither, and what is there already stays for a decision.",
        reloads=True,
    )
    ca: Path | None = setting(
        "S3D_OPA_CA",
        None,
        "PEM file with the CAs that OPA's certificate is judged by, read again when it changes. Unset: the system's.",
    )
    token_file: Path | None = setting(
        "S3D_OPA_TOKEN_FILE",
        None,
        "File with the bearer token that OPA is shown, read again when it changes. Only its owner may read it, or a "
        "group too where root owns it.",
    )

    @field_validator("url")
    @classmethod
    def check_url(cls, value: str | None) -> str | None:
        """Refuse what is no URL that can be asked; an empty value is an unset one."""
        if not value:
            return None
        if value.startswith("unix:"):
            if not re.fullmatch(r"unix://(/[^/?#]+)+", value):
                raise ValueError("it is not the path of a socket, such as unix:///run/opa.sock")
            return value
        return check_http_url(value)

    @field_validator("path")
    @classmethod
    def check_path(cls, value: str) -> str:
        """Refuse what is no path of a rule."""
        if not re.fullmatch(r"[A-Za-z_][\w-]*(/[A-Za-z_][\w-]*)*", value, re.ASCII):
            raise ValueError("it is not the path of a rule, such as s3d/allow")
        return value

    @field_validator("cache_path")
    @classmethod
    def check_cache_path(cls, value: str | None) -> str | None:
        """The same of the rule for the read cache; an empty value is an unset one."""
        return cls.check_path(value) if value else None
