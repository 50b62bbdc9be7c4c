"""Whom a request is aimed at, and whose page sent it: what both doors judge before anything else (SEMANTICS A-3).

A browser can be made to send requests to every address that its machine reaches. It says the name that it was given for
the address (Host), and whose page it acts for (Origin, Sec-Fetch-Site); a page can choose neither.
"""

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from s3d.api import AnyHeaders

ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
"""What a target in absolute form begins with (RFC 9112, 3.2.2)."""
ANY = "*"


def split(target: str) -> tuple[str | None, str, str]:
    """Authority, path and query of a request's target; the authority is None where the target is a path alone."""
    authority = None
    if match := ABSOLUTE.match(target):
        authority, target = match[1], target[match.end() :]
        if not target.startswith("/"):
            target = f"/{target}"
    path, _, query = target.partition("?")
    return authority, path, query


def host_of(authority: str) -> str:
    """The host of a Host header, lower-case, without its port."""
    name, _, port = authority.rpartition(":")
    return (name if name and port.isdigit() else authority).lower()


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


def is_foreign(headers: AnyHeaders, host: str, names: Collection[str], origins: Collection[str]) -> bool:
    """Whether a browser says that a page of another site sends this.

    Its own site is the host that the request names, and the door's own names, on any port; `origins` are those of other
    sites that may, `*` all. A browser that does not send Sec-Fetch-Site says it by Origin alone.
    """
    sent = headers.getall("Origin", [])
    if ANY in origins or (sent and all(origin in origins for origin in sent)):
        return False
    if any("cross-site" in value.lower() for value in headers.getall("Sec-Fetch-Site", [])):
        return True
    return any(not _is_own(origin, host, names) for origin in sent)


def _is_own(origin: str, host: str, names: Collection[str]) -> bool:
    try:
        theirs = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(theirs) and (host_of(theirs) == host or is_named(host_of(theirs), names))
