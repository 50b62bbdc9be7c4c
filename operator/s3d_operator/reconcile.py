"""The reconciler: writes the status of gateways and their ConfigMaps, tells events, has claims drained, keeps the
webhook's certificate.

Level-based: each round lists the gateways, asks their pods what is pending, and makes whole what it writes, by
server-side apply. What goes wrong about one gateway or one pod is logged and keeps no other from its turn, since the
operator is everybody's. kopf watches the gateways and the pods that have one, and wakes the next round; it is asked for
nothing that writes to them, so there is no annotation of its own and no finalizer, and deletion never waits for this
process. Nor does any admission.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import kopf
from aiohttp import web
from pydantic import ValidationError

from s3d.errors import S3DError
from s3d_operator import layout, mount_ends, pods, rotation
from s3d_operator.access import Access, find_access
from s3d_operator.certs import CertificateTarget
from s3d_operator.choice import Gateway, Skip, read_gateway, wanted, without_mount
from s3d_operator.config_maps import ConfigMaps
from s3d_operator.drains import Drains, follow, left_by
from s3d_operator.events import COMPONENT, Events
from s3d_operator.folder_rounds import FolderRounds
from s3d_operator.folders import place, read_folder
from s3d_operator.gateway_facts import GatewayFacts, facts_of
from s3d_operator.gateway_status import ClaimStatus, LostChanges
from s3d_operator.kube import FOLDERS, GATEWAYS, NAMESPACES, PODS, Kube, Object
from s3d_operator.layout import Image
from s3d_operator.losses import lost_with, read_lost, remember
from s3d_operator.metrics import ReconcilerMetrics, scrape
from s3d_operator.names import INJECT, INJECTED, INJECTION
from s3d_operator.observed import Liveness, Observed, handlers
from s3d_operator.pods import Left, Pod, Report, read_pod, total
from s3d_operator.podspec import folders_named
from s3d_operator.reasons import Reason
from s3d_operator.rotation import Schedule
from s3d_operator.status import stamp, status_of
from s3d_operator.telling import Telling

ROUND_SECONDS = 10
# A round that was woken comes no sooner after the one before; a busy namespace wakes all the time.
REST_SECONDS = 1
# What kopf has reported of the pods is compared with what there is.
COMPARE_SECONDS = 60
ASKED_BY_NAMESPACE = f"!{INJECTED},{INJECT} notin (true,false)"
ASKED_BY_LABEL = f"{INJECT}=true,!{INJECTED}"
OPTED_IN = f"{INJECTION}=enabled"

log = logging.getLogger(__name__)


class Reconciler:
    """What is known, and the rounds that write what follows from it."""

    def __init__(self, kube: Kube, image: Image, *, door_port: int = layout.HEALTH_PORT) -> None:
        self.kube = kube
        self.image = image
        self.events = Events(kube)
        self.telling = Telling(self.events, self.apart)
        self.drains = Drains(kube, self.events, image)
        self.config_maps = ConfigMaps(kube)
        self.metrics = ReconcilerMetrics()
        self.wake = asyncio.Event()
        self.gateways = Observed(read_gateway)
        self.folders = Observed(read_folder)
        self.folder_rounds = FolderRounds(kube, self.events)
        self.injected = Observed(self.read, self.gone)
        self.liveness = Liveness({"gateways": self.gateways, "folders": self.folders, "pods": self.injected})
        self._port = door_port
        self._pods: list[Pod] = []
        """The pods of this round."""
        self._reports: dict[str, Report] = {}
        """By a pod's uid what its gateway said last."""
        self._holding: dict[str, Pod] = {}
        """Pods that have had a claim since the last round."""
        self._ended: dict[str, Pod] = {}
        """Pods that went and are to be looked through for losses."""
        self._labels: dict[str, dict[str, str]] = {}
        """By its name the labels of a namespace that opted in."""
        self._judged: set[str] = set()
        """Pods whose end was looked through."""
        self._counted: set[str] = set()
        """Pods whose loss this process has counted in a status; others in a status were told by one before."""
        self._compared_at = 0.0
        """When the pods were last compared with a list of the API server."""
        self._failed: set[str] = set()
        """What went wrong in this round, in the words of the metric of rounds."""

    def read(self, raw: Object) -> Pod:
        """Keep of a pod what counts; one that is over is looked through by the next round."""
        pod = read_pod(raw)
        if pod.is_over and pod.exit_code is not None:
            self._ended[pod.uid] = pod
        if pod.claim and pod.holds and not pod.drains:
            if pod.uid not in self.injected.objects:
                # A drain job may have its claim: the pod waits for it no longer than a grace period.
                self.wake.set()
            self._holding[pod.uid] = pod
        if not self.injected.is_complete:
            self.wake.set()
        return pod

    def gone(self, pod: Pod) -> None:
        """Look a pod that was deleted through."""
        self._ended[pod.uid] = pod
        self.wake.set()

    async def run(self) -> None:
        """Go round until cancelled."""
        with contextlib.suppress(S3DError, OSError, TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(ROUND_SECONDS):
                await self.know_pods()
        while True:
            self.wake.clear()
            try:
                result = await self.round(datetime.now(UTC))
            except (S3DError, OSError, TimeoutError, aiohttp.ClientError) as error:
                result = "failed"
                log.warning("round: %r", error)
            except Exception:
                result = "bug"
                log.exception("a bug: the round failed")
            self.liveness.round_at = time.monotonic()
            self.metrics.rounds.labels(result).inc()
            await asyncio.sleep(REST_SECONDS)
            try:
                async with asyncio.timeout(ROUND_SECONDS - REST_SECONDS):
                    await self.wake.wait()
            except TimeoutError:
                continue

    async def know_pods(self) -> None:
        """Wait until kopf has reported all pods that have a gateway."""
        await self.compare_pods()
        while not self.injected.is_complete:
            self.wake.clear()
            await self.wake.wait()
            await asyncio.sleep(REST_SECONDS)
            await self.compare_pods()

    async def compare_pods(self) -> None:
        """Compare what kopf has reported of pods with what there is, once in a while."""
        if self.injected.is_complete and time.monotonic() - self._compared_at < COMPARE_SECONDS:
            return
        before = [*self.injected.objects]
        answer = await self.kube.list(PODS, labels=INJECTED, only_metadata=True)
        self.injected.compare(answer.get("items") or [], before)
        self._compared_at = time.monotonic()

    @contextlib.contextmanager
    def apart(self, whose: str) -> Iterator[None]:
        """Keep what goes wrong about one gateway or pod from all others; an API server that is away ends the round."""
        try:
            yield
        except S3DError as error:
            self._failed.add("failed")
            log.warning("%s: %s", whose, error)
        except (OSError, TimeoutError, aiohttp.ClientError):
            raise
        except Exception:
            self._failed.add("bug")
            log.exception("a bug: %s could not be looked after", whose)

    async def round(self, now: datetime) -> str:
        """Look at everything, and write what is not as it should be; how that went, in the words of the metric."""
        self._failed.clear()
        before = [*self.gateways.objects]
        raws: list[Object] = (await self.kube.list(GATEWAYS)).get("items") or []
        self.liveness.reached_at = time.monotonic()
        self.metrics.heartbeat.set(now.timestamp())
        self.gateways.compare(raws, before)
        await self.compare_pods()
        by_namespace: dict[str, list[Gateway]] = {}
        for raw in raws:
            by_namespace.setdefault(raw["metadata"]["namespace"], []).append(read_gateway(raw))
        knows_pods = self.injected.is_complete
        # Before the pods are taken: an end that comes later is the next round's, which sees its pod gone.
        ended, holding = dict(self._ended), dict(self._holding)
        unlabelled = await self.list_unlabelled() if knows_pods else []
        of_before = {raw["metadata"]["uid"]: pod for raw in unlabelled if (pod := read_pod(raw)).gateway}
        answers = await self.ask_pods(of_before.values()) if knows_pods else {}
        without = await self.look_for_uninjected(
            by_namespace, [raw for raw in unlabelled if raw["metadata"]["uid"] not in of_before]
        )
        self.show_only(raws)
        remembered = [read_lost(raw.get("status")) for raw in raws]
        told = {uid for each in remembered if each for uid in each.counted} - self._counted
        unsaid: set[tuple[str, str]] = set()
        for raw in raws:
            key = raw["metadata"]["namespace"], raw["metadata"]["name"]
            unsaid.add(key)
            whose = "S3Gateway {namespace}/{name}".format_map(raw["metadata"])
            # Before the status: who waits for the generation that it has seen finds what running pods reload from.
            with self.apart(f"the ConfigMap of {whose}"):
                await self.config_maps.write(raw)
            with self.apart(whose):
                facts, lost, shared = None, 0, await self.find_shared(raw)
                if knows_pods:
                    known, gone = await self.settle_claims(raw, shared, ended, holding)
                    known["lost"], lost = self.count_losses(raw, ended, gone, now)
                    gateways = by_namespace[key[0]]
                    (own,) = (gateway for gateway in gateways if gateway.name == key[1])
                    pods = [pod for pod in self._pods if is_of(pod, raw["metadata"])]
                    bare, claims = without.get(key, 0), known["claims"]
                    facts = facts_of(own, gateways, pods, answers, self._reports, claims, self.image, uninjected=bare)
                    facts = replace(facts, **known)
                await self.write_status(raw, facts, now, shared)
                # Only now: while the status does not say so, each round finds the same losses.
                if lost:
                    self.metrics.lost.labels(*key).inc(lost)
                unsaid.discard(key)
                await self.telling.refused(raw)
        self._holding = {uid: pod for uid, pod in self._holding.items() if uid not in holding}
        await self.look_at_folders(by_namespace, answers, ended.values(), now)
        await self.telling.orphans(
            self._pods, {(raw["metadata"]["namespace"], raw["metadata"]["name"]) for raw in raws}
        )
        await self.telling.injections(self._pods, now)
        await self.tell_losses(raws, {uid: pod for uid, pod in ended.items() if pod.of not in unsaid}, told)
        return next((result for result in ("bug", "failed") if result in self._failed), "done")

    async def look_at_folders(
        self,
        gateways: dict[str, list[Gateway]],
        answers: dict[str, Report | None],
        ended: Collection[Pod],
        now: datetime,
    ) -> None:
        """Write the status of the sync folders, and tell of those that went with their pod."""
        raws: list[Object] = []
        with self.apart("the SyncFolders"):
            before = [*self.folders.objects]
            raws = (await self.kube.list(FOLDERS)).get("items") or []
            self.folders.compare(raws, before)
        pods = self._pods if self.injected.is_complete else None
        for raw in raws:
            with self.apart("SyncFolder {namespace}/{name}".format_map(raw["metadata"])):
                known = gateways.get(raw["metadata"]["namespace"], [])
                await self.folder_rounds.write(raw, known, pods, answers, self._reports, now)
        with self.apart("the sync folders of pods that ended"):
            await self.folder_rounds.tell_ends(ended, raws)
        with self.apart("the mounts of pods that ended"):
            await mount_ends.tell_ends(self.events, ended)

    async def find_shared(self, raw: Object) -> str:
        """The claim of a gateway that several nodes can have at once; empty where there is none."""
        metadata, spec = raw["metadata"], read_gateway(raw).spec
        claim = spec and spec.volume.persistent_volume_claim
        if not claim:
            return ""
        held = {pod.claim for pod in self._pods if is_of(pod, metadata)}
        names = {claim.claim_name} if claim.claim_name else held | {known.claim_name for known in read_claims(raw)}
        return await self.drains.shared(metadata["namespace"], sorted(filter(None, names)))

    async def settle_claims(
        self, raw: Object, shared: str, ended: dict[str, Pod], holding: dict[str, Pod]
    ) -> tuple[Object, Left]:
        """See to what is left in the claims of a gateway; what the status says of it, as fields of a GatewayFacts.

        Beside it, what went with claims that were deleted.
        """
        metadata, spec = raw["metadata"], None if shared else read_gateway(raw).spec
        here = {pod.uid: pod for pod in self._pods if pod.namespace == metadata["namespace"]}
        holders = {pod.claim for pod in here.values() if pod.holds and not pod.drains}
        own = [pod for pod in (holding | here).values() if is_of(pod, metadata)]
        over = [pod for pod in ended.values() if is_of(pod, metadata)]
        claims = follow(read_claims(raw), own, over, self._reports, holders)
        may = await self.drains.may_drain(metadata) if spec and spec.drain.job else True
        claims, gone = await self.drains.settle(metadata, spec, claims, own)
        return {"claims": claims, "may_drain": may}, gone

    def count_losses(
        self, raw: Object, ended: dict[str, Pod], gone: Left, now: datetime
    ) -> tuple[LostChanges | None, int]:
        """What a gateway's status says of losses from now on, and how many changes of them are new."""
        before = read_lost(raw.get("status"))
        over = [pod for pod in ended.values() if is_of(pod, raw["metadata"])]
        lost = lost_with(over, self._reports, before.counted if before else ())
        self._counted |= lost.keys()
        there = {pod.uid for pod in self._pods} | ended.keys()
        new = total([gone.changes, *(left.changes for left in lost.values())])
        return remember(before, lost, gone, there, stamp(now)), new

    async def ask_pods(self, older: Iterable[Pod]) -> dict[str, Report | None]:
        """Ask each gateway that runs; keep what it says for when it says nothing. `older` are those of no watch."""
        self._pods = [*self.injected.objects.values(), *older]
        listening = [pod for pod in self._pods if pod.listens and pod.address]
        answers = await pods.ask(listening, self._port)
        self._reports |= {uid: report for uid, report in answers.items() if report}
        return answers

    async def look_for_uninjected(
        self, gateways: dict[str, list[Gateway]], raws: Iterable[Object]
    ) -> dict[tuple[str, str], int]:
        """Count the pods that opted in and run without, by the gateway that they would get; tell why."""
        counts: dict[tuple[str, str], int] = {}
        for raw in raws:
            namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
            if (raw.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
                continue
            with self.apart(f"pod {namespace}/{name}"):
                choice = wanted(raw, gateways.get(namespace, []))
                if isinstance(choice, Gateway) and folders_named(raw):
                    if not self.folders.is_complete:
                        # Nobody knows yet whether it could have its folders; the next round does.
                        continue
                    known = (folder for folder in self.folders.objects.values() if folder.namespace == namespace)
                    placed = place(raw, choice, known)
                    choice = placed if isinstance(placed, Skip) else choice
                if isinstance(choice, Gateway) and choice.spec and choice.spec.fuse_mount.enabled:
                    choice = without_mount(raw, namespace, self._labels.get(namespace, {})) or choice
                if isinstance(choice, Skip):
                    text = f"pod {name} runs without a gateway: {choice.message}"
                else:
                    counts[namespace, choice.name] = counts.get((namespace, choice.name), 0) + 1
                    text = (
                        f"pod {name} runs without a gateway, although S3Gateway {choice.name!r} selects it. It was "
                        "created before the label was set or while the webhook was down. Recreate the pod."
                    )
                await self.events.tell(pods.owner_of(raw), Reason.INJECTION_SKIPPED, text)
        return counts

    async def list_unlabelled(self) -> list[Object]:
        """The pods that opted in and lack a gateway's label: they have none, or one by an earlier webhook."""
        found: list[Object] = (await self.kube.list(PODS, labels=ASKED_BY_LABEL)).get("items") or []
        namespaces = await self.kube.list(NAMESPACES, labels=OPTED_IN, only_metadata=True)
        self._labels = {
            each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in namespaces.get("items") or []
        }
        for namespace in namespaces.get("items") or []:
            answer = await self.kube.list(PODS, namespace["metadata"]["name"], labels=ASKED_BY_NAMESPACE)
            found += answer.get("items") or []
        return found

    async def write_status(self, raw: Object, facts: GatewayFacts | None, now: datetime, shared: str) -> None:
        """Write the status of a gateway where it is another one."""
        metadata = raw["metadata"]
        status = status_of(raw, facts, now, shared=shared)
        if facts:
            self.show(metadata, status)
        if status == raw.get("status"):
            return
        known = {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]}
        await self.kube.apply(GATEWAYS, {"metadata": known, "status": status}, COMPONENT, part="status")

    async def tell_losses(self, raws: Iterable[Object], ended: dict[str, Pod], told: set[str]) -> None:
        """Report pods that ended with changes which were not delivered; `told` are those that others have reported."""
        gateways = {(raw["metadata"]["namespace"], raw["metadata"]["name"]): raw["metadata"] for raw in raws}
        for uid, pod in ended.items():
            with self.apart(f"the end of pod {pod.namespace}/{pod.name}"):
                left = left_by(pod, self._reports.get(uid))
                is_nothing = left is None or not left.changes or pod.drains or pod.is_expendable
                is_nothing = is_nothing or uid in self._judged | told
                if left is None or is_nothing or await self.tell_loss(pod, left, gateways):
                    self._ended.pop(uid, None)

    async def tell_loss(self, pod: Pod, left: Left, gateways: dict[tuple[str, str], Object]) -> bool:
        """Tell of one; whether that is done."""
        text = await self.telling.loss(pod, left, gateways)
        if not text:
            return False
        log.warning("%s/%s", pod.namespace, text)
        self._judged.add(pod.uid)
        if not pod.outlives and pod.of not in gateways and pod.uid not in self.injected.objects:
            # No status remembers it, so it counts when nobody can find it a second time.
            self.metrics.lost.labels(pod.namespace, pod.gateway).inc(left.changes)
        return True

    def show(self, metadata: Object, status: Object) -> None:
        """Let the metrics say what the status says."""
        labels = metadata["namespace"], metadata["name"]
        for state, number in status["pods"].items():
            self.metrics.pods.labels(*labels, state).set(number)
        self.metrics.pending.labels(*labels).set((status.get("pending") or {}).get("changes", 0))
        states = {condition["type"]: condition["status"] for condition in status["conditions"]}
        self.metrics.at_risk.labels(*labels).set({"True": 1, "False": 0}.get(states["DataAtRisk"], float("nan")))

    def show_only(self, raws: Iterable[Object]) -> None:
        """Forget what was known of gateways and pods that are not there any more."""
        self.config_maps.keep({raw["metadata"]["uid"] for raw in raws})
        known = {pod.uid for pod in (*self._pods, *self.injected.objects.values())} | self._ended.keys()
        self._reports = {uid: report for uid, report in self._reports.items() if uid in known}
        self._judged &= known
        self._counted &= known
        for gauge in (self.metrics.pods, self.metrics.pending, self.metrics.at_risk):
            gauge.clear()

    def handlers(self, find: Callable[[], Awaitable[Access]]) -> kopf.OperatorRegistry:
        """What kopf has to call."""
        return handlers(self.gateways, self.folders, self.injected, self.liveness, self.wake.set, find)

    async def scrape(self, request: web.Request) -> web.Response:
        """What it has counted."""
        return await scrape(self.metrics, request)


def is_of(pod: Pod, gateway: Object) -> bool:
    """Whether a pod has a gateway, by the gateway's metadata."""
    return pod.of == (gateway["namespace"], gateway["name"])


def read_claims(raw: Object) -> list[ClaimStatus]:
    """What the status of a gateway says of its claims, as far as this version knows it; [] where it cannot be read."""
    try:
        return [
            ClaimStatus.model_validate(each, extra="ignore") for each in (raw.get("status") or {}).get("claims") or []
        ]
    except ValidationError as error:
        log.warning("%s/%s: %s", raw["metadata"]["namespace"], raw["metadata"]["name"], error)
        return []


async def run(
    access: Access, target: CertificateTarget, schedule: Schedule, image: Image, health_port: int, liveness_port: int
) -> None:
    """Reconcile until SIGTERM."""
    async with Kube(access, find_access) as kube, AsyncExitStack() as stack:
        reconciler = Reconciler(kube, image)
        app = web.Application()
        app.router.add_get("/metrics", reconciler.scrape)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "0.0.0.0", health_port).start()
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        # kopf ends every task that starts after it, and leaves alone those that run already.
        ours = [tasks.create_task(work) for work in (rotation.keep(kube, target, schedule), reconciler.run())]
        await asyncio.sleep(0)
        await kopf.operator(
            registry=reconciler.handlers(find_access),
            liveness_endpoint=f"http://0.0.0.0:{liveness_port}/healthz",
            clusterwide=True,
            standalone=True,
        )
        for task in ours:
            task.cancel()
