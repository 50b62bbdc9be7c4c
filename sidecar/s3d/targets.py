"""Whom a request is aimed at, and whose page sent it: what both doors judge before anything else (SEMANTICS A-3).

A browser can be made to send requests to every address that its machine reaches. It says the name that it was given for
the address (Host), and whose page it acts for (Origin, Sec-Fetch-Site); a page can choose neither.
"""

import ipaddress
import re
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import urlsplit

from s3d.api import AnyHeaders

ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
"""What a target in absolute form begins with (RFC 9112, 3.2.2)."""
FETCH_SITE = "Sec-Fetch-Site"


def split(target: str) -> tuple[str | None, str, str]:
    """Authority, path and query of a request's target; the authority is None where the target is a path alone."""
    authority = None
    if not target.startswith("/") and (match := ABSOLUTE.match(target)):
        authority, target = match[1], target[match.end() :]
        if not target.startswith("/"):
            target = f"/{target}"
    path, _, query = target.partition("?")
    return authority, path, query


@lru_cache(maxsize=16)
def host_of(authority: str) -> str:
    """The host of a Host header, lower-case, without its port."""
    name, _, port = authority.rpartition(":")
    return (name if name and port.isdigit() else authority).lower()


def port_of(authority: str) -> str:
    """The port of a Host header as it is written; "" where it is the scheme's own."""
    name, _, port = authority.rpartition(":")
    return port if name and port.isdigit() else ""


def is_named(host: str, names: Collection[str]) -> bool:
    """Whether a host is one of some names, or stands below one of them (bucket.NAME)."""
    return any(host == name or host.endswith(f".{name}") for name in names)


def is_address(host: str) -> bool:
    """Whether a host is an address. A page of another site is never loaded from the one it attacks: it needs a name
    that it can let point there."""
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def is_foreign(headers: AnyHeaders, authority: str, names: Collection[str]) -> bool:
    """Whether a browser says that a page of another origin sends this.

    The door's own pages are those of the host that the request names and of the door's own names, on the same port. A
    request without an Origin is theirs where Sec-Fetch-Site says so, or where no browser says anything.
    """
    origins = headers.getall("Origin", [])
    sites = ",".join(headers.getall(FETCH_SITE, [])).lower()
    if "cross-site" in sites or ("same-site" in sites and not origins):
        return True
    return any(not _is_own(origin, authority, names) for origin in origins)


def _is_own(origin: str, authority: str, names: Collection[str]) -> bool:
    try:
        theirs = urlsplit(origin).netloc
    except ValueError:
        return False
    host = host_of(theirs)
    return (
        bool(theirs) and port_of(theirs) == port_of(authority) and (host == host_of(authority) or is_named(host, names))
    )
