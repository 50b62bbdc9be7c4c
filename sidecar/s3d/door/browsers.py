"""Browsers at the door: which pages may use it, and what their browsers are told (SEMANTICS A-3, R-12).

A browser asks by a preflight, which nobody can sign, whether a page may make a request. It is answered here: nothing
but the bucket's rules is asked for. What the rules say goes with every answer of the door's own. An answer of the
remote keeps what the remote says, unless the settings give the rules.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from aiohttp import hdrs
from multidict import CIMultiDict

from s3d import targets
from s3d.access import cors
from s3d.access.cors import NO_RULES, Rules
from s3d.api import AnyHeaders, Headers, Wire
from s3d.errors import S3Error
from s3d.protocol import decode

RulesOf = Callable[[str], Awaitable[Rules]]
"""The CORS rules that hold for a bucket ("": for what names none)."""


@dataclass(frozen=True, slots=True)
class Page:
    """The page that sends a request, and the rules that hold for it."""

    origin: str = ""
    """As its browser says it; "" where none is said, or none that can be told back."""
    method: str = ""
    rules: Rules = NO_RULES
    foreign: bool = False
    """Whether it is not the door's own."""

    def tell(self, headers: Headers, *, forwarded: bool) -> None:
        """Put into the headers of an answer what the rules say; `forwarded`: it is the remote's own."""
        if not self.origin or (forwarded and not self.rules.by_settings):
            return
        for name in [name for name in headers if name.lower().startswith(cors.PREFIX)]:
            headers.popall(name, None)
        if rule := self.rules.find(self.origin, self.method):
            headers.update(cors.headers_of(rule, self.origin))
            headers.add(hdrs.VARY, cors.VARY)


NO_PAGE = Page()
"""No browser has sent it, or nobody has asked yet."""


def is_of_browser(headers: AnyHeaders) -> bool:
    """Whether a request says anything that only browsers say."""
    return hdrs.ORIGIN in headers or targets.FETCH_SITE in headers


class Browsers:
    """What the door does for them, and against them."""

    def __init__(self, rules_of: RulesOf, names: Collection[str], domains: Sequence[str]) -> None:
        """Take the names of the door, and those below which a host names a bucket."""
        self._rules_of = rules_of
        self._names = names
        self._domains = domains

    async def page_of(self, wire: Wire) -> Page:
        """Who sends a request. Raises S3Error where it names no bucket that there could be."""
        headers = wire.headers
        if not is_of_browser(headers):
            return NO_PAGE
        foreign = targets.is_foreign(headers, headers.get(hdrs.HOST, ""), self._names)
        if not foreign and hdrs.ORIGIN not in headers:
            return NO_PAGE
        bucket, _ = decode.target(wire, self._domains)
        origins = headers.getall(hdrs.ORIGIN, [])
        is_one = len(origins) == 1 and origins[0].isascii() and origins[0].isprintable()
        return Page(origins[0] if is_one else "", wire.method, await self._rules_of(bucket), foreign)

    def check(self, wire: Wire, page: Page) -> None:
        """Refuse what a page of another origin sends, unless the rules admit it: no signature is asked for (A-3)."""
        if not page.foreign:
            return
        if hdrs.ORIGIN not in wire.headers:
            admitted = page.rules.admit_unnamed(page.method)
        else:
            admitted = page.rules.admit(page.origin, page.method)
        if not admitted:
            raise S3Error(
                "AccessDenied",
                "Another site's page may not use this door",
                status=403,
                hint="S3D_CORS_ORIGINS lists the origins whose pages may, or a CORS rule of the bucket names them",
            )

    def preflight(self, wire: Wire, page: Page) -> Headers:
        """What an OPTIONS request is told. Raises S3Error where the page may not make the request it asks about."""
        if not page.origin:
            raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
        method = wire.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD, "")
        if method not in cors.METHODS:
            raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {method or 'null'}")
        lines = ",".join(wire.headers.getall(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, ()))
        asked = [name.strip() for name in lines.split(",") if name.strip()]
        rule = page.rules.find(page.origin, method, asked)
        if rule is None:
            _, key = decode.target(wire, self._domains)
            raise S3Error(
                "AccessForbidden",
                "CORSResponse: This CORS request is not allowed. No rule lets its Origin, "
                "Access-Control-Request-Method and Access-Control-Request-Headers pass."
                if page.rules.rules
                else "CORSResponse: CORS is not enabled for this bucket.",
                status=403,
                details={"Method": method, "ResourceType": "OBJECT" if key else "BUCKET"},
                hint="set CORS rules of the bucket, or S3D_CORS_ORIGINS",
            )
        return CIMultiDict({**cors.preflight_headers_of(rule, page.origin, asked), hdrs.VARY: cors.VARY})
