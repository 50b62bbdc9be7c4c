"""CORS rules as S3 has them, and what a browser learns of them (SEMANTICS R-12, A-3c).

A rule lets pages of some origins make requests of some methods with some headers. The first rule of a bucket that lets
a request pass counts, and its headers go with the answer. An origin and a header may have one `*`, which stands for
any text. What no rule lets pass gets no headers, and the browser keeps the answer from the page.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from s3d.settings.browsers import Method

METHODS: tuple[str, ...] = get_args(Method)
"""What a rule may name."""
MAX_RULES = 100
"""Rules of a bucket, as S3 bounds them."""
ANY = "*"
VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
"""What an answer depends on, for caches."""
ALLOW_ORIGIN = "Access-Control-Allow-Origin"
PREFIX = "access-control-"
"""What the names of all headers of an answer begin with, lower-case."""
SCHEME = re.compile(r"(https?)?(:/{0,2})?")


@dataclass(frozen=True, slots=True)
class Rule:
    """One CORSRule."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    """Headers that a request may have."""
    expose: tuple[str, ...] = ()
    """Headers of an answer that a page may read."""
    max_age: int | None = None
    """Seconds for which a browser may remember the answer to a preflight; None where the rule does not say."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that hold for a bucket, in their order."""

    rules: tuple[Rule, ...] = ()
    by_settings: bool = False
    """Whether they are the settings' and not the bucket's: then they hold for what the remote answers as well."""

    def find(self, origin: str, method: str, headers: Iterable[str] = ()) -> Rule | None:
        """The first rule that lets a page of an origin make such a request."""
        asked = [name.lower() for name in headers]
        for rule in self.rules:
            if (
                method in rule.methods
                and any(matches(pattern, origin) for pattern in rule.origins)
                and all(any(matches(pattern.lower(), name) for pattern in rule.headers) for name in asked)
            ):
                return rule
        return None

    def admit(self, origin: str, method: str) -> bool:
        """Whether a page may make a request that nobody has signed.

        A bucket's rule is written for signed requests: one for every site says that the signature decides. Where none
        is asked for, it admits nobody; a rule that names its sites does, and so does one of the settings.
        """
        return any(
            method in rule.methods
            and any(matches(pattern, origin) and (self.by_settings or names_sites(pattern)) for pattern in rule.origins)
            for rule in self.rules
        )

    def admit_unnamed(self, method: str) -> bool:
        """Whether a page may make such a request without saying its origin: where the settings let in all."""
        return self.by_settings and any(ANY in rule.origins and method in rule.methods for rule in self.rules)


NO_RULES = Rules()


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern with at most one `*` matches a whole text."""
    before, star, after = pattern.partition(ANY)
    if not star:
        return pattern == text
    return (
        ANY not in after and len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)
    )


def names_sites(pattern: str) -> bool:
    """Whether the pattern of an origin says more than that it is one: every page can have the origin `null`."""
    return pattern != "null" and bool(SCHEME.sub("", pattern, count=1).replace(ANY, ""))


def headers_of(rule: Rule, origin: str) -> dict[str, str]:
    """What an answer tells the browser of a page that a rule lets make its request."""
    headers = {ALLOW_ORIGIN: ANY if ANY in rule.origins else origin}
    if ANY not in rule.origins:
        headers["Access-Control-Allow-Credentials"] = "true"
    headers["Access-Control-Allow-Methods"] = ", ".join(rule.methods)
    if rule.expose:
        headers["Access-Control-Expose-Headers"] = ", ".join(rule.expose)
    if rule.max_age is not None:
        headers["Access-Control-Max-Age"] = str(rule.max_age)
    return headers


def preflight_headers_of(rule: Rule, origin: str, asked: Sequence[str]) -> dict[str, str]:
    """The same for the answer to a preflight, with the headers that it has asked for."""
    headers = headers_of(rule, origin)
    if asked:
        headers["Access-Control-Allow-Headers"] = ", ".join(name.lower() for name in asked)
    return headers


def of_configuration(configuration: Any) -> tuple[Rule, ...]:
    """The rules of a CORSConfiguration, by botocore's member names. Raises ValueError for what is none."""
    return tuple(map(_rule, _list(_object(configuration).get("CORSRules", ()))[:MAX_RULES]))


def to_configuration(rules: Iterable[Rule]) -> dict[str, Any]:
    """A CORSConfiguration of some rules."""
    return {
        "CORSRules": [
            {
                "AllowedOrigins": list(rule.origins),
                "AllowedMethods": list(rule.methods),
                "AllowedHeaders": list(rule.headers),
                "ExposeHeaders": list(rule.expose),
                **({} if rule.max_age is None else {"MaxAgeSeconds": rule.max_age}),
            }
            for rule in rules
        ]
    }


def _rule(value: Any) -> Rule:
    rule = _object(value)
    max_age = rule.get("MaxAgeSeconds")
    if max_age is not None and not isinstance(max_age, int):
        raise ValueError("MaxAgeSeconds is a number")
    return Rule(
        origins=_texts(rule.get("AllowedOrigins", ())),
        methods=_texts(rule.get("AllowedMethods", ())),
        headers=_texts(rule.get("AllowedHeaders", ())),
        expose=_texts(rule.get("ExposeHeaders", ())),
        max_age=max_age,
    )


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("this is an object")  # noqa: TRY004 (of a document, not of a caller)
    return value


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError("this is a list")  # noqa: TRY004
    return value


def _texts(value: Any) -> tuple[str, ...]:
    """The texts of a list, which become values of headers."""
    texts = tuple(_list(value))
    if not all(isinstance(text, str) and text.isascii() and text.isprintable() for text in texts):
        raise ValueError("this is a list of texts that can stand in a header")
    return texts
