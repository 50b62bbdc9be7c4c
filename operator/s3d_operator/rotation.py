"""The rotation of the webhook's certificate: the next CA is believed before its leaf is served.

Each look reads the Secret and the webhook configurations and does the one step that is due. What a look has to know is
in these objects, but for how long they have been as they are, which each process counts anew: where one is killed
between two writes, the next goes on. The rule: a leaf is served only after its CA has been published for a while, and a
CA goes only after nothing of it has been served for a while (docs/decisions/0010).

The configurations are the chart's: nothing but `caBundle` is ever written to them. A step that publishes a CA writes
both; where it breaks off between them, the next look finds one without the CA, and publishes it anew.
"""

import asyncio
import base64
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import aiohttp
from cryptography import x509

from s3d.errors import ConfigError, S3DError
from s3d_operator.certs import (
    CLOCK_SKEW,
    SERVED,
    CertificateTarget,
    Pair,
    authorities,
    encode,
    expiry,
    make_pair,
    new_secret,
    serves,
)
from s3d_operator.kube import SECRETS, WEBHOOK_CONFIGURATIONS, Kind, Kube, Object

COMING = ("next.crt", "next.key", "next-ca.crt")
FORMER = "former-ca.crt"
LOOK_SECONDS = 10
# More than any way of the steps is long: whoever undoes our writes is not fought in a busy loop.
MAX_STEPS = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long a pair lives, how long before its end the next is made, and how long what was written is let sink in."""

    lifetime: timedelta = timedelta(days=90)
    renew_before: timedelta = timedelta(days=30)
    settle_seconds: float = 60
    """Until every API server believes what was published. Each watches the configuration; one whose connection to etcd
    died in silence notices after 40 s at most, by its client's keep-alive."""

    @property
    def retire_seconds(self) -> float:
        """Until every replica serves what the Secret says: a watch that died in silence is made anew after 90 s, and
        tried every 30 s from then on. That several times over, since an old CA that stays for longer harms nobody."""
        return 10 * self.settle_seconds


@dataclass(frozen=True, slots=True)
class SecretContents:
    """What a Secret keeps: the pair that is served, the one that will be, and the CA of the one before."""

    served: Pair | None = None
    coming: Pair | None = None
    former: bytes = b""


@dataclass(frozen=True, slots=True)
class Step:
    """What is written: some data of the Secret, None for what goes, or the bundle of every webhook."""

    says: str
    data: dict[str, bytes | None] | None = None
    bundle: bytes | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look has found: the Secret, the bundle of each webhook, and for how many seconds either is as it is."""

    kept: SecretContents
    bundles: tuple[bytes, ...]
    kept_seconds: float
    published_seconds: float


def read_contents(secret: Object) -> SecretContents:
    """Read a Secret; what cannot be read is not there. Raises ConfigError where it is somebody else's."""
    data, labels = secret.get("data") or {}, secret["metadata"].get("labels") or {}
    if "tls.crt" not in data and labels.get("app.kubernetes.io/managed-by") != "s3d-operator":
        raise ConfigError(
            f"Secret {secret['metadata']['name']} holds something else than a certificate",
            hint="delete it and the operator makes it anew",
        )

    def part(name: str) -> bytes:
        try:
            return base64.b64decode(data.get(name) or "")
        except ValueError:
            return b""

    served, coming = (Pair(*(part(name) for name in names)) for names in (SERVED, COMING))
    return SecretContents(served if served.certificate else None, coming if coming.certificate else None, part(FORMER))


def wanted(kept: SecretContents) -> tuple[bytes, ...]:
    """The CAs that have to be believed: of what is served, of what will be, and of what a replica may serve still."""
    bundles = [pair.authority for pair in (kept.served, kept.coming) if pair] + [kept.former]
    return tuple(dict.fromkeys(each for bundle in bundles for each in authorities(bundle)))


def next_step(seen: Seen, hosts: Sequence[str], schedule: Schedule, now: datetime) -> Step | None:
    """The write that is due; None where everything is as it should be, or has to sink in first."""
    kept, published = seen.kept, [authorities(bundle) for bundle in seen.bundles]
    served = kept.served if kept.served and serves(kept.served, hosts, now) else None
    coming = kept.coming if kept.coming and serves(kept.coming, hosts, now) else None
    if not coming and (served is None or is_due(served, kept.former, schedule, now)):
        pair = make_pair(hosts, now, schedule.lifetime)
        data = dict(zip(COMING, (pair.certificate, pair.key, pair.authority), strict=True))
        return Step("made the next certificate", data=dict(data))
    if any(set(wanted(kept)) - set(each) for each in published):
        # What else is there stays: it may be what a replica serves, where the Secret was lost.
        others = (each for bundle in published for each in bundle)
        return Step("published the CA", bundle=b"".join(dict.fromkeys([*wanted(kept), *others])))
    if coming:
        # Where nobody is believed now there is nothing to lose, and a new installation does not wait.
        others = (each for bundle in published for each in bundle if each not in authorities(coming.authority))
        if seen.published_seconds < schedule.settle_seconds and any(is_valid(each, now) for each in others):
            return None
        former = b"".join(each for each in wanted(replace(kept, coming=None)) if is_valid(each, now))
        data = dict(zip(SERVED, (coming.certificate, coming.key, coming.authority), strict=True))
        return Step("the next certificate is served", data={**data, **dict.fromkeys(COMING), FORMER: former or None})
    if seen.kept_seconds < schedule.retire_seconds:
        return None
    if kept.former:
        return Step("the former certificate is served no more", data={FORMER: None})
    if any(set(each) - set(wanted(kept)) for each in published):
        return Step("took the former CA back", bundle=b"".join(wanted(kept)))
    return None


def is_due(served: Pair, former: bytes, schedule: Schedule, now: datetime) -> bool:
    """Whether a pair is to be followed by another: it ends soon, or lives for longer than any should.

    The rotation before is finished first, so that no bundle grows; but nothing waits for that when half of the time is
    gone.
    """
    left = expiry(served) - now
    if left > schedule.lifetime + CLOCK_SKEW:
        return True
    return left <= (schedule.renew_before / 2 if former else schedule.renew_before)


def is_valid(authority: bytes, now: datetime) -> bool:
    """Whether a CA can be believed now."""
    certificate = x509.load_pem_x509_certificate(authority)
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


class Keeper:
    """One process that rotates: what it knows beside the objects is since when they are as they are."""

    def __init__(self, kube: Kube, target: CertificateTarget, schedule: Schedule) -> None:
        self.kube, self.target, self.schedule = kube, target, schedule
        self._since: dict[str, tuple[object, float]] = {}

    async def advance(self) -> bool:
        """Look, and do what is due; whether there was anything. Raises ApiError where somebody else wrote meanwhile."""
        secret = await self.kube.get(SECRETS, self.target.secret, self.target.namespace)
        configurations = [
            (kind, found)
            for kind in WEBHOOK_CONFIGURATIONS
            if (found := await self.kube.get(kind, self.target.configuration))
        ]
        kept = read_contents(secret) if secret else SecretContents()
        bundles = tuple(
            base64.b64decode(each["clientConfig"].get("caBundle") or "")
            for _, configuration in configurations
            for each in configuration.get("webhooks") or []
        )
        seen = Seen(kept, bundles, self.seconds("kept", kept), self.seconds("bundles", bundles))
        # The API server judges the leaf, so its clock counts and not ours.
        step = next_step(seen, self.target.hosts, self.schedule, self.kube.now)
        if not step:
            return False
        if step.data is not None:
            await self.write_secret(secret, step.data)
        if step.bundle is not None:
            for kind, configuration in configurations:
                await self.publish(kind, configuration, step.bundle)
        log.info("certificate of the webhook: %s", step.says)
        return True

    async def publish(self, kind: Kind, configuration: Object, authorities: bytes) -> None:
        """Write CAs to every webhook of a configuration, where nobody else has written since it was read."""
        bundle = base64.b64encode(authorities).decode()
        version = configuration["metadata"]["resourceVersion"]
        operations: list[Object] = [{"op": "test", "path": "/metadata/resourceVersion", "value": version}]
        operations += [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle}
            for index in range(len(configuration.get("webhooks") or []))
        ]
        await self.kube.patch(kind, self.target.configuration, operations)

    async def write_secret(self, secret: Object | None, data: dict[str, bytes | None]) -> None:
        """Write data of the Secret, where nobody else has written since it was read."""
        there = encode({k: v for k, v in data.items() if v is not None})
        if secret is None:
            raw = new_secret(self.target, {})
            await self.kube.create(SECRETS, raw | {"data": raw["data"] | there}, self.target.namespace)
            return
        version = {"resourceVersion": secret["metadata"]["resourceVersion"]}
        change = {"metadata": version, "data": {**dict.fromkeys(data), **there}}
        await self.kube.patch(SECRETS, self.target.secret, change, self.target.namespace)

    def seconds(self, what: str, state: object) -> float:
        """For how long something is as it is now, as far as this process has seen."""
        now = time.monotonic()
        known, since = self._since.get(what, (None, now))
        if known != state:
            since = now
        self._since[what] = (state, since)
        return now - since


async def keep(kube: Kube, target: CertificateTarget, schedule: Schedule) -> None:
    """See to it for ever that the Secret holds a pair that is believed and in time, where both are ours."""
    keeper = Keeper(kube, target, schedule)
    while target.issued:
        try:
            for _ in range(MAX_STEPS):
                if not await keeper.advance():
                    break
        except S3DError as error:
            log.warning("certificate of the webhook: %s. %s", error, error.hint)
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            log.warning("certificate of the webhook: %r", error)
        await asyncio.sleep(min(LOOK_SECONDS, schedule.settle_seconds))
