"""The document of S3D_ACCESS_KEYS_FILE: a JSON list with an entry for each access key, and for unsigned requests.

    [
      {"id": "app", "secret": "..."},
      {"id": "report", "secrets": ["new", "old"], "readOnly": true, "buckets": ["sales"]},
      {"anonymous": true, "buckets": ["public"]}
    ]

What is wrong is said by the number of the entry and the name of the field, never by a value: that may be a secret.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from s3d.access.keys import AccessKey, Keys
from s3d.errors import ConfigError

MAX_BYTES = 1 << 20
"""Of a document: as much as a Secret of Kubernetes holds."""
ID = re.compile(r"[A-Za-z0-9._@+=-]{3,128}")
IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
IDENTITY_RULE = "the name of an identity has 1 to 64 letters, digits and ._@-"
SECRET = re.compile(r"[!-~]{8,128}")
MAX_SECRETS = 2
"""Of one key: the new one, and the one that it takes the place of."""
HINT = 'such as [{"id": "app", "secret": "..."}]; docs/ACCESS.md has all fields, and `s3d key new` writes an entry'


def check_id(value: str) -> str:
    """An id as a signature can carry it."""
    if not ID.fullmatch(value):
        raise ValueError("3 to 128 letters, digits and ._@+=- are an id")
    return value


def check_secret(value: str) -> str:
    """A secret that nobody can guess by trying, in the characters that clients take."""
    if not SECRET.fullmatch(value):
        raise ValueError("8 to 128 characters of ASCII without spaces are a secret")
    return value


def check_secrets(values: tuple[str, ...]) -> tuple[str, ...]:
    """As many secrets as one key may have."""
    if not 1 <= len(set(values)) == len(values) <= MAX_SECRETS:
        raise ValueError("a key has one secret or two different ones")
    return values


def check_identity(value: str) -> str:
    """The name of an identity at the remote; "" for the gateway's own. Which there are, another file says."""
    if value and not IDENTITY.fullmatch(value):
        raise ValueError(IDENTITY_RULE)
    return value


Secret = Annotated[str, AfterValidator(check_secret)]


class Entry(BaseModel):
    """One access key, or what unsigned requests may do."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, alias_generator=to_camel
    )
    id: Annotated[str, AfterValidator(check_id)] | None = None
    secret: Secret | None = Field(default=None, repr=False)
    secrets: Annotated[tuple[Secret, ...], AfterValidator(check_secrets)] | None = Field(default=None, repr=False)
    anonymous: bool = False
    identity: Annotated[str, AfterValidator(check_identity)] = ""
    read_only: bool | None = None
    buckets: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] | None = None

    @model_validator(mode="after")
    def check(self) -> "Entry":
        """Refuse half an entry."""
        named = self.id is not None or self.secret is not None or self.secrets is not None
        if self.anonymous and named:
            raise ValueError("an entry with `anonymous` has neither an id nor secrets")
        if not self.anonymous and (self.id is None or (self.secret is None) == (self.secrets is None)):
            raise ValueError("a key has an `id`, and either a `secret` or `secrets`")
        return self

    @property
    def all_secrets(self) -> tuple[str, ...]:
        """The secrets, the newest first."""
        return self.secrets or ((self.secret,) if self.secret is not None else ())

    @property
    def key(self) -> AccessKey:
        """The key as the door uses it. Whoever does not sign may read only, unless the entry says otherwise."""
        return AccessKey(
            id=self.id or "",
            secrets=self.all_secrets,
            identity=self.identity,
            read_only=self.anonymous if self.read_only is None else self.read_only,
            buckets=self.buckets,
        )

    @property
    def value(self) -> dict[str, Any]:
        """What the document says of it."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


ENTRIES = TypeAdapter(tuple[Entry, ...])


def parse(data: bytes, where: object) -> tuple[Entry, ...]:
    """Read a document, which is at `where`. Raises ConfigError with all that is wrong in it."""
    try:
        entries = ENTRIES.validate_json(data)
    except ValidationError as error:
        said = "; ".join(problem(each["loc"], each["msg"]) for each in error.errors(include_url=False)[:10])
        raise ConfigError(f"{where}: {said}", hint=HINT) from None
    for name in ("id", "anonymous"):
        seen: dict[object, int] = {}
        for number, entry in enumerate(entries, start=1):
            value = getattr(entry, name)
            if value and value in seen:
                raise ConfigError(f"{where}: entry {number} has the same {name} as entry {seen[value]}", hint=HINT)
            seen[value] = number
    return entries


def problem(place: Sequence[int | str], said: str) -> str:
    """One thing that is wrong, by the place of it."""
    said = said.removeprefix("Value error, ")
    if not place:
        return said
    number, *fields = place
    named = "".join(f": {name}" for name in fields if isinstance(name, str) and not name.startswith("function-"))
    return f"entry {int(number) + 1}{named}: {said}"


def keys_of(entries: Iterable[Entry]) -> Keys:
    """The keys of a document, as the door uses them."""
    entries = tuple(entries)
    anonymous = next((entry.key for entry in entries if entry.anonymous), None)
    return Keys((entry.key for entry in entries if not entry.anonymous), anonymous)


def write(entries: Iterable[Entry]) -> bytes:
    """A document with these entries."""
    return (json.dumps([entry.value for entry in entries], indent=2, ensure_ascii=False) + "\n").encode()
