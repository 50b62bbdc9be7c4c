"""The webhook that gives pods their gateway and judges our resources: AdmissionReview in, answer out, over TLS.

A process of its own, without state and without side effects, so that several can run and a dry run is one. It knows the
gateways from a watch; a gateway it does not know is looked up once more before it is missing. A user's error is a clear
denial for pods that ask by their own label, and a warning for pods of a labelled namespace; an error of ours is an HTTP
500, and the failure policy decides. What is answered about a resource of ours is `admission`'s.
"""

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from s3d.errors import ConfigError
from s3d_operator.admission import verdict_of
from s3d_operator.certs import expiry, read_secret
from s3d_operator.choice import PERHAPS_LATE, Gateway, Skip, read_gateway, wanted, without_mount
from s3d_operator.folders import Placed, place, read_folder
from s3d_operator.inject import patch
from s3d_operator.intake import Intake
from s3d_operator.kube import FOLDERS, GATEWAYS, NAMESPACES, SECRETS, Kube, Object, Watch, key_of, load_cert
from s3d_operator.layout import Image
from s3d_operator.metrics import WebhookMetrics, scrape
from s3d_operator.names import ON_MISSING
from s3d_operator.podspec import annotations

# The API server waits 5 s; a look-up that took longer would be no answer.
LOOKUP_SECONDS = 2
GRACE_SECONDS = 10
# The kinds that are judged when somebody writes them, by the path of their review.
WRITTEN = {"gateway": "S3Gateway", "folder": "SyncFolder"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How the webhook runs; `shutdown_seconds` is how long it serves on after SIGTERM, until no Service sends to it."""

    image: Image
    namespace: str
    secret: str
    host: str = "0.0.0.0"
    port: int = 10250
    health_port: int = 8080
    shutdown_seconds: float = 10


def know(raw: Object) -> Gateway:
    """Read a gateway as it comes; say in the log where a newer release has fields that this one ignores."""
    gateway = read_gateway(raw)
    if gateway.ignored:
        fields = ", ".join(gateway.ignored)
        log.info("%s/%s: fields of a newer release, at their defaults: %s", *key_of(raw), fields)
    return gateway


def denies(opt_in: str, pod: Object) -> bool:
    """Whether a pod that gets no gateway is refused: one that asked itself always is, another where it says so.

    What a person who asked does not get must be plain.
    """
    return opt_in == "pod" or annotations(pod).get(ON_MISSING) == "Deny"


def decide(pod: Object, choice: Gateway | Skip, image: Image, *, denies: bool, placed: Sequence[Placed] = ()) -> Object:
    """The `response` of a review, without its uid; a skip is a denial or a warning."""
    if isinstance(choice, Gateway):
        injection = patch(pod, choice, image, placed)
        verdict: Object = {"allowed": True}
        if injection.operations:
            document = json.dumps(injection.operations).encode()
            verdict |= {"patchType": "JSONPatch", "patch": base64.b64encode(document).decode()}
        if injection.warnings:
            verdict["warnings"] = [f"s3d: {warning}" for warning in injection.warnings]
        return verdict
    if denies:
        return {"allowed": False, "status": {"code": 403, "reason": choice.reason, "message": f"s3d: {choice.message}"}}
    return {"allowed": True, "warnings": [f"s3d: the pod runs without a gateway: {choice.message}"]}


class Webhook:
    """One replica: what it knows, its certificate and whether it is ready."""

    def __init__(self, kube: Kube, options: Options) -> None:
        self.options = options
        self.serving = False
        self.stopping = False
        self.certified = asyncio.Event()
        self.tls = server_context()
        self.kube = kube
        self.metrics = WebhookMetrics()
        self.intake = Intake()
        self.gateways = Watch(kube, GATEWAYS, know)
        self.folders = Watch(kube, FOLDERS, read_folder)
        own = f"metadata.name={options.secret}"
        self.secret = Watch(kube, SECRETS, self.certify, namespace=options.namespace, fields=own)

    def certify(self, secret: Object) -> None:
        """Serve a Secret's certificate from the next connection on; one that cannot be used changes nothing."""
        try:
            pair = read_secret(secret)
            if not pair.certificate:
                log.info("no certificate to serve yet: its CA is published first")
                return
            # Tried elsewhere first: a key that does not fit would leave the context with the new certificate alone.
            for context in (server_context(), self.tls):
                load_cert(context, pair.certificate, pair.key)
        except (ConfigError, ssl.SSLError) as error:
            log.warning("certificate not loaded: %s", error)
        else:
            self.certified.set()
            self.metrics.certificate_expiry.set(expiry(pair).timestamp())
            log.info("certificate loaded")

    @property
    def unready(self) -> str:
        """What keeps this replica from answering; empty when nothing does."""
        missing = {
            "shutting down": self.stopping,
            "no certificate yet": not self.serving,
            "gateways not known yet": not self.gateways.synced.is_set(),
            "sync folders not known yet": not self.folders.synced.is_set(),
        }
        return ", ".join(reason for reason, holds in missing.items() if holds)

    async def review(self, request: web.Request) -> web.Response:
        """Answer one AdmissionReview of a pod."""
        opt_in = request.match_info["opt_in"]
        with self.metrics.duration.time():
            try:
                async with self.intake.take(request) as body:
                    asked = read_review(body)
                    namespace, pod = asked["namespace"], pod_of(asked)
                    choice, placed = await self.choose_both(namespace, pod)
                    verdict = decide(pod, choice, self.options.image, denies=denies(opt_in, pod), placed=placed)
            except Exception as error:
                reason = type(error).__name__.removeprefix("HTTP")
                self.metrics.admissions.labels(opt_in, "error", reason).inc()
                raise
        self.count(opt_in, choice, verdict)
        name = pod["metadata"].get("name") or pod["metadata"].get("generateName")
        if isinstance(choice, Skip) or "patch" in verdict:
            # Not of a pod that comes again, since another webhook changed it, and lacks nothing.
            log.info("%s/%s: %s", namespace, name, choice.name if isinstance(choice, Gateway) else choice.reason)
        return answer_to(asked, verdict)

    async def review_written(self, request: web.Request) -> web.Response:
        """Answer one AdmissionReview of an S3Gateway or a SyncFolder."""
        kind = WRITTEN[request.match_info["what"]]
        counter = self.metrics.gateways if kind == "S3Gateway" else self.metrics.folders
        with self.metrics.duration.time():
            try:
                async with self.intake.take(request) as body:
                    asked = read_review(body)
                    verdict = verdict_of(kind, *written_of(asked, kind))
            except Exception:
                counter.labels("error").inc()
                raise
        counter.labels("accepted" if verdict["allowed"] else "refused").inc()
        if not verdict["allowed"]:
            log.info("%s/%s: refused: %s", asked["namespace"], asked.get("name"), verdict["status"]["message"])
        return answer_to(asked, verdict)

    def count(self, opt_in: str, choice: Gateway | Skip, verdict: Object) -> None:
        """Count an answer."""
        if isinstance(choice, Skip):
            result, reason = ("skipped" if verdict["allowed"] else "denied"), str(choice.reason)
        else:
            result, reason = ("injected" if "patch" in verdict else "unchanged"), ""
        self.metrics.admissions.labels(opt_in, result, reason).inc()

    async def choose_both(self, namespace: str, pod: Object) -> tuple[Gateway | Skip, tuple[Placed, ...]]:
        """Choose a pod's gateway, and the folders that it names; without one of them it gets nothing."""
        choice = await self.choose(namespace, pod)
        if isinstance(choice, Skip):
            return choice, ()
        if choice.spec and choice.spec.fuse_mount.enabled and (skip := await self.judge_mount(namespace, pod)):
            return skip, ()
        placed = place(pod, choice, (f for f in self.folders.objects.values() if f.namespace == namespace))
        if isinstance(placed, Skip):
            # A folder may merely be new, or have been mended just now.
            answer = await self.kube.list(FOLDERS, namespace, seconds=LOOKUP_SECONDS)
            placed = place(pod, choice, [read_folder(raw) for raw in answer.get("items") or []])
        return (placed, ()) if isinstance(placed, Skip) else (choice, placed)

    async def choose(self, namespace: str, pod: Object) -> Gateway | Skip:
        """Choose a pod's gateway; a missing one may merely be new, so the API server is asked before saying so."""
        choice = wanted(pod, (g for (where, _), g in self.gateways.objects.items() if where == namespace))
        if isinstance(choice, Skip) and choice.reason in PERHAPS_LATE:
            choice = wanted(pod, await self.look_up(namespace))
        return choice

    async def judge_mount(self, namespace: str, pod: Object) -> Skip | None:
        """Say why a pod cannot have the mount of its gateway; the label of its namespace is read anew each time."""
        found = await self.kube.get(NAMESPACES, namespace) or {}
        return without_mount(pod, namespace, (found.get("metadata") or {}).get("labels") or {})

    async def look_up(self, namespace: str) -> Iterable[Gateway]:
        """The gateways that a namespace has now."""
        answer = await self.kube.list(GATEWAYS, namespace, seconds=LOOKUP_SECONDS)
        return [read_gateway(raw) for raw in answer.get("items") or []]

    async def health(self, request: web.Request) -> web.Response:
        """Alive: it answers."""
        return web.Response(text="ok\n")

    async def readiness(self, request: web.Request) -> web.Response:
        """Ready: it has a certificate, knows gateways and folders, and is not about to end."""
        return web.Response(status=503 if self.unready else 200, text=f"{self.unready or 'ok'}\n")

    async def scrape(self, request: web.Request) -> web.Response:
        """What it has counted."""
        self.metrics.show(heard_at=min(self.gateways.heard_at, self.folders.heard_at))
        return await scrape(self.metrics, request)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then as long as others may still send, and finish what was asked."""
        async with asyncio.TaskGroup() as tasks, serving(self.health_routes(), self.options, self.options.health_port):
            watches = [tasks.create_task(watch.run()) for watch in (self.gateways, self.folders, self.secret)]
            either = [tasks.create_task(event.wait()) for event in (self.certified, stop)]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await self.serve_reviews(stop)
            for task in (*watches, *either):
                task.cancel()

    async def serve_reviews(self, stop: asyncio.Event) -> None:
        """Serve the reviews. The door is never cancelled while it opens: a socket would listen on for nobody."""
        async with serving(self.review_routes(), self.options, self.options.port, self.tls):
            self.serving = True
            log.info("serving reviews on port %d", self.options.port)
            await stop.wait()
            self.stopping = True
            await asyncio.sleep(self.options.shutdown_seconds)

    def review_routes(self) -> web.Application:
        """The door of the API server: one path for each way to opt in, and one for each kind that is judged."""
        app = web.Application()
        app.router.add_post("/inject/{opt_in:pod|namespace}", self.review)
        app.router.add_post(f"/validate/{{what:{'|'.join(WRITTEN)}}}", self.review_written)
        return app

    def health_routes(self) -> web.Application:
        """The door of the kubelet, and of Prometheus."""
        app = web.Application()
        app.router.add_get("/metrics", self.scrape)
        app.router.add_get("/healthz", self.health)
        app.router.add_get("/readyz", self.readiness)
        return app


def read_review(body: bytes) -> Object:
    """The `request` of an AdmissionReview. Raises HTTPBadRequest for anything else."""
    try:
        asked: Object = json.loads(body)["request"]
        known = {name: asked[name] for name in ("uid", "namespace", "operation", "object")} | {
            "kind": asked["kind"]["kind"]
        }
        return known | {name: asked.get(name) for name in ("name", "oldObject")}
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise web.HTTPBadRequest(text=f"not an AdmissionReview: {error!r}\n") from None


def pod_of(asked: Object) -> Object:
    """The pod that a review says is created. Raises HTTPBadRequest where it is about something else."""
    pod: Object = asked["object"]
    try:
        is_pod = isinstance(pod["metadata"], dict) and isinstance(pod["spec"]["containers"], list)
    except (KeyError, TypeError):
        is_pod = False
    if (asked["operation"], asked["kind"]) != ("CREATE", "Pod") or not is_pod:
        raise unasked_for(asked, "creates a pod")
    return pod


def written_of(asked: Object, kind: str) -> tuple[Object, Object | None]:
    """The object of a kind that a review says is written, and how it was before; None where it is new.

    Raises HTTPBadRequest where it is about something else.
    """
    written, before = asked["object"], asked["oldObject"] if asked["operation"] == "UPDATE" else None
    is_written = asked["kind"] == kind and asked["operation"] in {"CREATE", "UPDATE"}
    if not is_written or not isinstance(written, dict) or not isinstance(before, dict | None):
        raise unasked_for(asked, f"writes {'an' if kind == 'S3Gateway' else 'a'} {kind}")
    return written, before


def unasked_for(asked: Object, what: str) -> web.HTTPBadRequest:
    """The error for a review of something else."""
    return web.HTTPBadRequest(text=f"not an AdmissionReview that {what}: {asked['operation']} {asked['kind']}\n")


def answer_to(asked: Object, verdict: Object) -> web.Response:
    """The answer to a review."""
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    answer = web.json_response(review | {"response": {"uid": asked["uid"]} | verdict})
    # A connection that the API server kept could be closed, at our end, under its next review: it does not send
    # that again, and the pod is refused. A new one goes to a replica that serves, and to each in turn.
    answer.force_close()
    return answer


def server_context() -> ssl.SSLContext:
    """A context of our side, still without a certificate."""
    return ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)


@asynccontextmanager
async def serving(
    app: web.Application, options: Options, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serve an application; at the end, finish the requests that are being answered."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE_SECONDS)
    try:
        await runner.setup()
        await web.TCPSite(runner, options.host, port, ssl_context=tls).start()
        yield
    finally:
        await runner.cleanup()
