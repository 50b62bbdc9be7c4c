"""The proxies of the environment, as AWS SDKs honour them: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in lower case too.

They are read once: a process's environment is its own. A proxy's name may hold a password, so it is shown without.
"""

import functools
from urllib.request import getproxies_environment, proxy_bypass

from yarl import URL

from s3d.errors import ConfigError

SCHEMES = frozenset(["http", "https"])
MAX_HOSTS = 1000
"""Hosts whose proxy is kept in memory: on AWS each bucket has a host of its own."""


class Proxies:
    """Through which proxy a host is reached."""

    def __init__(self) -> None:
        """Read the environment. Raises ConfigError where a proxy is named that s3d cannot speak to."""
        named = getproxies_environment()
        self._proxies = {scheme: proxy_of(scheme, named[scheme]) for scheme in SCHEMES & named.keys()}
        self._found = functools.lru_cache(MAX_HOSTS)(self._find)

    def of(self, scheme: str, host: str) -> URL | None:
        """The proxy for requests to a host, which may have a port; None where they go there directly."""
        return self._found(scheme, host) if self._proxies else None

    def _find(self, scheme: str, host: str) -> URL | None:
        return None if proxy_bypass(host) else self._proxies.get(scheme)


def proxy_of(scheme: str, named: str) -> URL:
    """The proxy that a variable names; without a scheme it is an HTTP proxy."""
    try:
        url = URL(named if "://" in named else f"http://{named}")
        if url.scheme in SCHEMES and url.host and url.port:
            return url
    except ValueError:
        pass
    raise ConfigError(
        f"{scheme.upper()}_PROXY does not name a proxy that speaks HTTP",
        hint="write for example http://proxy.internal:3128, or name the remote's host in NO_PROXY",
    )


def shown(proxy: URL) -> str:
    """A proxy's name for logs, without its password."""
    return str(proxy.with_user(None))
