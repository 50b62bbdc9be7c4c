"""The identities by which s3d acts at the remote: its own, "", and those that a file names (SEMANTICS A-8).

Each has its keys, and its standing at the remote: that one's keys are refused says nothing of another's. The file is
taken over as it changes. An identity that it does not name has no keys, and what is pending of it waits: nothing is
ever signed by another's.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from s3d import documents, files
from s3d.access import document
from s3d.api import S3, Call, Reply
from s3d.errors import ConfigError, S3Error, Unavailable
from s3d.layers.credentials import Chain, Credentials, FixedKeys, KeyFiles, Keys, Source, State
from s3d.layers.standing import Standing
from s3d.protocol import encode
from s3d.settings import Remote
from s3d.watched import Watched

OWN = ""
"""The gateway's own identity."""
SETTING = "S3D_REMOTE_IDENTITIES_FILE"
MAX_BYTES = 1 << 20
"""Bytes of the file; a Secret holds no more."""
MAX_SHOWN = 20
"""Identities that status and metrics show by their names."""
OTHER = "other"
"""The name under which they show the rest."""
WORSE: Final = ("not required", "found", "unknown", "missing", "failing", "refused")
"""What may be known of keys, the worst last."""
UNKNOWN = "UnknownIdentity"
"""The code of a request that nobody can sign: its identity has no keys."""
LIST = "write a list of objects, each with a name and a source of keys"
Text = Annotated[str, Field(min_length=1)]


class Named(BaseModel):
    """An identity as the file has it, with exactly one source of keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str
    profile: Text | None = None
    access_key_id: Text | None = Field(None, alias="accessKeyID")
    secret_access_key: SecretStr | None = Field(None, alias="secretAccessKey", min_length=1)
    session_token: SecretStr | None = Field(None, alias="sessionToken", min_length=1)
    credentials_dir: Path | None = Field(None, alias="credentialsDir")
    role_arn: Text | None = Field(None, alias="roleARN")
    external_id: Text | None = Field(None, alias="externalID")
    web_identity_token_file: Path | None = Field(None, alias="webIdentityTokenFile")

    @field_validator("name")
    @classmethod
    def check_name(cls, value: str) -> str:
        """Refuse what no access key could name, and the word for all others."""
        if not document.IDENTITY.fullmatch(value) or value == OTHER:
            raise ValueError(document.IDENTITY_RULE)
        return value

    @model_validator(mode="after")
    def check_source(self) -> Self:
        """Refuse what says no source of keys, several, or half of one."""
        given = (self.profile, self.access_key_id, self.credentials_dir, self.role_arn)
        if sum(one is not None for one in given) != 1:
            raise ValueError("give exactly one of profile, accessKeyID, credentialsDir and roleARN")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("accessKeyID and secretAccessKey go together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("sessionToken goes with accessKeyID and secretAccessKey")
        if self.web_identity_token_file is not None and self.role_arn is None:
            raise ValueError("webIdentityTokenFile goes with roleARN")
        if self.external_id is not None and (self.role_arn is None or self.web_identity_token_file is not None):
            raise ValueError("externalID goes with roleARN, and not with webIdentityTokenFile")
        return self

    def source(self, chain: Chain, own: Source) -> Source:
        """Where its keys come from; `own` is where the gateway's do."""
        if self.profile is not None:
            return chain.of_profile(self.profile)
        if self.credentials_dir is not None:
            return KeyFiles(self.credentials_dir)
        if self.web_identity_token_file is not None:
            return chain.of_web_identity(self.web_identity_token_file, self.role_arn or "")
        if self.role_arn is not None:
            return chain.of_role(own, self.role_arn, self.external_id or "")
        token = self.session_token.get_secret_value() if self.session_token else None
        secret = self.secret_access_key.get_secret_value() if self.secret_access_key else ""
        return FixedKeys(Keys(self.access_key_id or "", secret, token))


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody as whom s3d acts."""

    name: str
    credentials: Credentials
    standing: Standing

    @property
    def state(self) -> State:
        """What is known of its keys, in a word."""
        return "refused" if self.standing.keys_are_refused else self.credentials.state


class Identities:
    """All of them."""

    def __init__(self, settings: Remote, chain: Chain, path: str) -> None:
        """Take where keys come from, and the path of the remote's URL. Nothing is read yet."""
        self._chain = chain
        self._path = path
        self._source = KeyFiles(settings.credentials_dir) if settings.credentials_dir else chain
        self.own = Identity(OWN, Credentials(None if settings.anonymous else self._source), Standing(path))
        """The gateway's own."""
        self._named: dict[str, tuple[Named, Identity]] = {}
        self.watched: Watched[bytes] | None = None
        """The file, once it was read; None where there is none."""
        self._file = settings.identities_file

    async def read(self) -> None:
        """Read the file for the first time, where there is one. Raises ConfigError."""
        if self._file is not None:
            read = partial(files.read_secret, self._file, MAX_BYTES)
            data = await asyncio.to_thread(read)
            self._take(data)
            self.watched = Watched("identities", self._file, read, self._take, seen=data)

    def __iter__(self) -> Iterator[Identity]:
        """Those that the file names, in its order."""
        return (identity for _, identity in self._named.values())

    def shown(self) -> list[dict[str, str]]:
        """What is known of those that the file names: the first ones by their names, the rest together."""
        all_of_them = [{"name": one.name, "credentials": one.state, "refusal": one.standing.refusal} for one in self]
        rest = all_of_them[MAX_SHOWN:]
        if not rest:
            return all_of_them
        worst = max(rest, key=lambda one: WORSE.index(one["credentials"]))
        return [*all_of_them[:MAX_SHOWN], {**worst, "name": OTHER}]

    def find(self, name: str) -> Identity | None:
        """An identity by its name; None for one that nobody names."""
        if name == OWN:
            return self.own
        found = self._named.get(name)
        return found[1] if found else None

    def get(self, name: str) -> Identity:
        """An identity by its name. Raises Unavailable for one that nobody names."""
        identity = self.find(name)
        if identity is None:
            raise Unavailable(
                f"No keys are known of the identity {name}",
                code=UNKNOWN,
                hint=f"name it in the file of {SETTING}; what is pending of it waits for that",
            )
        return identity

    def _take(self, data: bytes) -> str:
        """Take over what the file says; one that is as before keeps what is known of it. Raises ConfigError."""
        named, old = parse(data), self._named
        self._named = {
            one.name: known if (known := old.get(one.name)) and known[0] == one else (one, self._open(one))
            for one in named
        }
        return f"{len(named)} identities"

    def _open(self, named: Named) -> Identity:
        source = named.source(self._chain, self._source)
        return Identity(named.name, Credentials(source, named.name), Standing(self._path, named.name))


def parse(data: bytes) -> list[Named]:
    """The identities of a file. Raises ConfigError, which says where it is wrong and never what is there."""
    try:
        entries = documents.parse(data)
    except ValueError as error:
        # Its words may quote what is there.
        raise ConfigError(f"{SETTING}: the file is no JSON", hint=LIST) from error
    if not isinstance(entries, list):
        raise ConfigError(f"{SETTING}: the file is no list", hint=LIST)
    named: list[Named] = []
    problems: list[str] = []
    for number, entry in enumerate(entries):
        try:
            named.append(Named.model_validate(entry))
        except ValidationError as error:
            said = error.errors(include_input=False, include_url=False)
            problems += [document.problem((number, *one["loc"]), one["msg"]) for one in said]
    names = [one.name for one in named]
    problems += [f"{name} is named more than once" for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise ConfigError(f"{SETTING}: {'; '.join(problems)}", hint="see docs/IDENTITIES.md")
    return named


class Known:
    """A layer that refuses who has no keys for the remote: what such a one writes could not be pushed."""

    def __init__(self, inner: S3, identities: Identities) -> None:
        """Take what is inside."""
        self._inner = inner
        self._identities = identities

    def __call__(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Pass a call on, or refuse it with 403."""
        is_known = call.identity == OWN or self._identities.find(call.identity) is not None
        return self._inner(call) if is_known else self._refuse(call)

    async def _refuse(self, call: Call) -> Reply:
        if call.body is not None:
            await call.body.aclose()
        error = S3Error(
            "AccessDenied",
            f"The identity {call.identity}, for which this access key stands, has no keys for the remote",
            status=403,
            hint=f"the file of {SETTING} does not name it",
        )
        return encode.refusal(call, error)
