"""What kopf tells of the objects that it watches, held against what the API server lists.

kopf does the watching; it tells of each change and keeps nothing. Two things it does not tell, and a list finds: an
object that was deleted while the watch was down, and a watch that has ended without a word (kopf #1276).
"""

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import kopf

from s3d_operator.access import Access
from s3d_operator.kube import Object
from s3d_operator.names import GROUP, INJECTED, S3_GATEWAY, SYNC_FOLDER, VERSION

# The API server says something at least once a minute.
SILENCE_SECONDS = 300

T = TypeVar("T")


class Observed(Generic[T]):
    """The objects of one kind by their uid, each as `read` makes it; `gone` is called with each that is deleted."""

    def __init__(self, read: Callable[[Object], T], gone: Callable[[T], None] = lambda _: None) -> None:
        self.objects: dict[str, T] = {}
        self.is_complete = False
        """Whether a list has shown nothing that kopf had not reported; an incomplete picture proves nothing."""
        self.untold_since: float | None = None
        """Since when the API server lists what kopf does not tell."""
        self._versions: dict[str, str] = {}
        self._read, self._gone = read, gone

    def note(self, change: str | None, raw: Object) -> None:
        """Take over what kopf tells."""
        self.untold_since = None
        uid = raw["metadata"]["uid"]
        if change == "DELETED":
            self.objects.pop(uid, None)
            self._versions.pop(uid, None)
            self._gone(self._read(raw))
        else:
            self.objects[uid] = self._read(raw)
            self._versions[uid] = raw["metadata"]["resourceVersion"]

    def compare(self, raws: Iterable[Object], before: Collection[str]) -> None:
        """Compare with a list of the API server; `before` are the uids that were known when it was asked for."""
        listed = {raw["metadata"]["uid"]: raw["metadata"]["resourceVersion"] for raw in raws}
        for uid in before:
            if uid not in listed and uid in self.objects:
                self._versions.pop(uid, None)
                self._gone(self.objects.pop(uid))
        self.is_complete = self.is_complete or listed.keys() <= self._versions.keys()
        if listed.items() <= self._versions.items():
            self.untold_since = None
        elif self.untold_since is None:
            self.untold_since = time.monotonic()


@dataclass(slots=True)
class Liveness:
    """Whether the reconciler is alive: its rounds and kopf's watches."""

    observed: Mapping[str, Observed[Any]]
    """What kopf watches, by the name that a person knows it by."""
    round_at: float = field(default_factory=time.monotonic)
    """When the last round ended, well or not."""
    reached_at: float = field(default_factory=time.monotonic)
    """When the API server last answered a round."""

    def problems(self) -> list[str]:
        """What is dead. A watch that is silent while nobody reaches the server is not."""
        now = time.monotonic()
        found = ["no round has ended"] if now - self.round_at > SILENCE_SECONDS else []
        if now - self.reached_at < SILENCE_SECONDS:
            found += [
                f"the watch of the {name} is silent"
                for name, observed in self.observed.items()
                if observed.untold_since is not None and now - observed.untold_since > SILENCE_SECONDS
            ]
        return [f"{problem} for {SILENCE_SECONDS} s" for problem in found]


def handlers(
    gateways: Observed[Any],
    folders: Observed[Any],
    pods: Observed[Any],
    liveness: Liveness,
    wake: Callable[[], None],
    find: Callable[[], Awaitable[Access]],
) -> kopf.OperatorRegistry:
    """The handlers of kopf. All are of events and activities: any other kind writes to the objects that it watches."""
    registry = kopf.OperatorRegistry()

    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return connection(await find())

    async def note_gateway(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 # kopf names it so
        gateways.note(type, dict(body))
        wake()

    async def note_folder(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 # kopf names it so
        folders.note(type, dict(body))
        wake()

    async def note_pod(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 # kopf names it so
        pods.note(type, dict(body))

    async def live(**_: Any) -> None:
        if problems := liveness.problems():
            raise kopf.PermanentError(", ".join(problems))

    kopf.on.login(registry=registry)(log_in)
    kopf.on.startup(registry=registry)(configure)
    kopf.on.event(GROUP, VERSION, S3_GATEWAY, registry=registry)(note_gateway)
    kopf.on.event(GROUP, VERSION, SYNC_FOLDER, registry=registry)(note_folder)
    kopf.on.event("", "v1", "pods", registry=registry)(note_pod)
    kopf.on.probe(registry=registry)(live)
    return registry


def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Let kopf watch no pods but those with a gateway, keep its logs to itself, and end its watches in time."""
    # A line for each status that we write, and two for each probe of the kubelet, would hide all others.
    for chatty in ("kopf.objects", "kopf.activities.probe", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.posting.loggers = False
    settings.posting.level = logging.WARNING
    settings.watching.label_selectors["", "v1", "pods"] = INJECTED
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 10


def connection(access: Access) -> kopf.ConnectionInfo:
    """Our access to the API server, for kopf's own client."""
    known = access.configuration
    scheme, _, token = (known.api_key.get("BearerToken") or "").partition(" ")
    return kopf.ConnectionInfo(
        server=known.host,
        ca_path=known.ssl_ca_cert,
        insecure=not known.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=known.cert_file,
        private_key_path=known.key_file,
        default_namespace=access.namespace,
        proxy_url=known.proxy,
        trust_env=True,
        expiration=access.expires,
    )
