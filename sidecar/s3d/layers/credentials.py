"""Where the keys come from that requests to the remote are signed with: files that are mounted, or the AWS SDK's chain.

A source that fails says so to whoever needs keys, and fails nobody else. Keys that the remote refuses are looked for
again: they may have been written anew.
"""

import asyncio
import functools
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from s3d.errors import Unavailable

log = logging.getLogger(__name__)

PROFILES = frozenset(["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
KEY_FILES = ("accessKeyID", "secretAccessKey", "sessionToken")
REFUSED = frozenset([400, 401, 403])
WRONG = frozenset(
    "ExpiredToken TokenRefreshRequired InvalidToken InvalidAccessKeyId SignatureDoesNotMatch Forbidden "
    "Unauthorized".split()
)
"""Errors that other keys may mend; the last two are those of a HEAD, which has no document."""
RENEWAL_INTERVAL = 5.0
"""Seconds between two looks for other keys."""
State = Literal["unknown", "found", "missing", "failing", "refused", "not required"]
SOURCE_RETRY_INTERVAL = 1.0
"""Seconds for which the failure of a source of credentials is not looked at again."""
KEY_SECONDS = 2.0
"""How old keys from files may be."""


class Keys(NamedTuple):
    """What requests are signed with."""

    access_key: str
    secret_key: str
    token: str | None


class Source(Protocol):
    """Where keys come from."""

    async def keys(self) -> Keys | None:
        """The keys that are valid now; None where there are none. Raises whatever goes wrong."""

    def renew(self) -> None:
        """Look for other keys before the next request: those that were found are refused."""


class FixedKeys:
    """Keys that somebody has written down."""

    def __init__(self, keys: Keys) -> None:
        """Take them."""
        self._keys = keys

    async def keys(self) -> Keys:
        """The keys."""
        return self._keys

    def renew(self) -> None:
        """There are no others."""


class KeyFiles:
    """Keys in the files of a directory, as a Secret is mounted; changed ones are used from some seconds later on.

    Where the files are gone or cannot be read, the last keys stay.
    """

    def __init__(self, directory: Path) -> None:
        """Take the directory; nothing is read yet."""
        self._directory = directory
        self._keys: Keys | None = None
        self._read_at = -math.inf

    async def keys(self) -> Keys | None:
        """The keys that are valid now; None where there never were any."""
        if time.monotonic() - self._read_at >= KEY_SECONDS:
            self._read_at = time.monotonic()
            self._keys = await asyncio.to_thread(read_keys, self._directory) or self._keys
        return self._keys

    def renew(self) -> None:
        """They are read again all the time."""


def read_keys(directory: Path) -> Keys | None:
    """The keys in a directory; None where they are not all there."""
    try:
        # A kubelet changes all files of a volume at once, by the link that the names in it lead through.
        there = (directory / "..data").resolve() if (directory / "..data").exists() else directory
        found = [
            (there / name).read_text(encoding="utf-8").strip() if (there / name).exists() else "" for name in KEY_FILES
        ]
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read: %s", directory, error)
        return None
    access_key, secret_key, token = found
    return Keys(access_key, secret_key, token or None) if access_key and secret_key else None


class Chain:
    """Where credentials, regions and endpoints come from: the AWS SDK's chain, in which the environment is first.

    Keys in the environment are all that most daemons have, so the SDK itself, a third of a daemon's memory and of its
    start, is loaded only where they are not.
    """

    def __init__(self, region: str | None = None, *, needed: bool) -> None:
        """Find keys in the environment, or load the SDK where they are `needed` and not there. Take the region that the
        settings name."""
        self._region = region
        self._found = Loaded(self._load)
        self._keys = keys_in(os.environ)
        if needed and self._keys is None:
            self.session  # noqa: B018 (loading takes a while, which no request should wait for)

    @functools.cached_property
    def session(self) -> Any:
        """The SDK's session."""
        return new_session()

    def renew(self) -> None:
        """Look at every source again before the next request: what was found before is refused."""
        self._found.renew()

    def region(self) -> str:
        """The region that the settings, the environment or the profile names."""
        region = self._region or os.environ.get("AWS_DEFAULT_REGION")
        if not region and (PROFILES & os.environ.keys() or any(map(os.path.exists, profile_files()))):
            region = self.session.get_config_variable("region")
        return region or "us-east-1"

    async def keys(self) -> Keys | None:
        """The keys that are valid now; None where there are none."""
        return self._keys if self._keys is not None else await self._found.keys()

    async def _load(self) -> Any:
        return await self.session.get_component("credential_provider").load_credentials()

    def of_profile(self, name: str) -> Source:
        """The keys of a profile, wherever that says they come from."""
        self.session  # noqa: B018 (as at the start)

        async def load() -> Any:
            session = new_session()
            session.set_config_variable("profile", name)
            return await session.get_component("credential_provider").load_credentials()

        return Loaded(load)

    def of_role(self, own: Source, role: str, external_id: str = "") -> Source:
        """Keys that STS gives for a role to whom `own` keys belong."""
        self.session  # noqa: B018 (as at the start)

        async def load() -> Any:
            from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials

            if await own.keys() is None:
                return None
            more = {"ExternalId": external_id} if external_id else {}
            fetcher = AioAssumeRoleCredentialFetcher(self._sts, Frozen(own), role, extra_args=more)
            return AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")

        return Loaded(load)

    def of_web_identity(self, token_file: Path, role: str) -> Source:
        """Keys that STS gives for a role to who has the token in a file."""
        self.session  # noqa: B018 (as at the start)

        async def load() -> Any:
            from aiobotocore.credentials import (
                AioAssumeRoleWithWebIdentityCredentialFetcher,
                AioDeferredRefreshableCredentials,
            )
            from botocore.utils import FileWebIdentityTokenLoader

            token = FileWebIdentityTokenLoader(str(token_file))
            fetcher = AioAssumeRoleWithWebIdentityCredentialFetcher(self._sts, token, role)
            return AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role-with-web-identity")

        return Loaded(load)

    def _sts(self, service: str, **more: Any) -> Any:
        """A client of STS, in the chain's region and at its endpoint."""
        return self.session.create_client(service, **{"region_name": self.region(), **more})


class Frozen:
    """The keys of a source as the SDK takes them, when it asks STS for others."""

    def __init__(self, source: Source) -> None:
        """Take the source."""
        self._source = source

    async def get_frozen_credentials(self) -> Keys:
        """The keys that are valid now. Raises Unavailable where there are none any more."""
        if keys := await self._source.keys():
            return keys
        raise Unavailable("There are no keys by which a role could be assumed", code="NoCredentials")


class Loaded:
    """Keys that the SDK finds and renews."""

    def __init__(self, load: Callable[[], Awaitable[Any]]) -> None:
        """Take what gives the SDK's credentials, None where it finds none; it is asked before the first request."""
        self._load = load
        self._credentials: Any = None

    def renew(self) -> None:
        """Look again before the next request."""
        self._credentials = None

    async def keys(self) -> Keys | None:
        """The keys that are valid now."""
        if self._credentials is None:
            self._credentials = await self._load()
        if self._credentials is None:
            return None
        now = await self._credentials.get_frozen_credentials()
        return Keys(now.access_key, now.secret_key, now.token)


def new_session() -> Any:
    """A session of the SDK."""
    from aiobotocore.session import get_session

    return get_session()


def keys_in(environment: Mapping[str, str]) -> Keys | None:
    """The keys of the environment; None where there are none, or where they expire and the SDK has to look again."""
    access_key, secret_key = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key or environment.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    token = environment.get("AWS_SESSION_TOKEN") or environment.get("AWS_SECURITY_TOKEN")
    return Keys(access_key, secret_key, token or None)


def profile_files() -> tuple[str, str]:
    """Where profiles are kept."""
    # Path's own raises where there is no home.
    return (
        os.path.expanduser(os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")),  # noqa: PTH111
        os.path.expanduser(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")),  # noqa: PTH111
    )


class Credentials:
    """What the requests of one identity are signed with, and what is known of it."""

    def __init__(self, source: Source | None, name: str = "") -> None:
        """Take where keys come from, None for requests that are not signed, and the name of the identity."""
        self._source = source
        self._owner = f" of identity {name}" if name else ""
        self.state: State = "not required" if source is None else "unknown"
        """`missing` where the last look found none, `failing` where it could not be made."""
        self._finding = asyncio.Lock()
        self._renewed_at = -math.inf
        self._failed = ""
        """How the source failed at the last look; "" where it did not."""
        self._failed_at = 0.0

    async def find(self) -> Keys | None:
        """The keys to sign with; None where requests are not signed. Raises Unavailable where there are none, and where
        their source fails.

        A source that fails takes its time for it: all who ask meanwhile share the failure, and so do those who ask
        within SOURCE_RETRY_INTERVAL after it.
        """
        if self._source is None:
            return None
        async with self._finding:
            if self._failed and time.monotonic() - self._failed_at < SOURCE_RETRY_INTERVAL:
                raise source_failed(self._failed)
            return await self._find(self._source)

    async def _find(self, source: Source) -> Keys:
        try:
            keys = await source.keys()
        except Exception as error:
            # Whatever a source raises (a process, an agent, STS), it is no fault of the request or of s3d.
            self.state = "failing"
            said = f"{type(error).__name__}: {error}"
            if said != self._failed:
                log.error("the source of the credentials%s fails: %s", self._owner, said)
            self._failed, self._failed_at = said, time.monotonic()
            raise source_failed(said) from error
        self._failed = ""
        self.state = "missing" if keys is None else "found"
        if keys is None:
            raise Unavailable(
                f"No AWS credentials{self._owner} were found for the remote",
                code="NoCredentials",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile, or S3D_ANONYMOUS=true",
            )
        return keys

    def refused(self, status: int, code: str) -> None:
        """Look for other keys where the store refuses these: somebody may have written new ones. A source that tells
        when its keys expire may also be judged by a clock that is wrong."""
        due = time.monotonic() - self._renewed_at >= RENEWAL_INTERVAL
        if self._source is not None and status in REFUSED and code in WRONG and due:
            self._renewed_at = time.monotonic()
            self._source.renew()


def source_failed(said: str) -> Unavailable:
    """The error of a request that cannot be signed, because the source of the credentials failed as `said`."""
    return Unavailable(
        f"The source of the credentials for the remote fails: {said}",
        code="NoCredentials",
        hint="see where AWS_* or the profile send s3d for credentials; writes are queued meanwhile",
    )
