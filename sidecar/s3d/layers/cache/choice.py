"""Which objects are cached: the tag s3d.cache of an object says it, else the filter (SEMANTICS F-6); then the policy.

The filter is told what the remote's answer says of an object, and who reads it. Tags are asked for where the answer
says that the object has some, or where a rule wants them and nothing else decides. What stays unknown is not cached.
A policy is asked about what these let be cached (F-3h), and is told the tags in any case, where they can be had.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from multidict import CIMultiDict

from s3d.api import S3, AnyHeaders, Call, Delivered
from s3d.bounded import BoundedMap
from s3d.client import Client
from s3d.clock import tick
from s3d.errors import S3Error
from s3d.filters.match import Subject, Truth, Values, decide
from s3d.filters.rule import Member
from s3d.layers.cache import requests
from s3d.layers.cache.changes import Changes
from s3d.layers.cache.consent import Consent
from s3d.layers.cache.rows.entries import PIN, TAG, Spot, Tags
from s3d.policy import Verdict
from s3d.protocol.headers import METADATA, TAG_COUNT, TAGGING
from s3d.settings import ReadCache

SAID = {"true": Truth.YES, PIN: Truth.YES, "false": Truth.NO}
"""What the values of the tag mean."""
OBJECT_TAGS_SECONDS = 3600.0
"""Seconds for which tags of an object are taken for what they were, while there are as many."""
BUCKET_TAGS_SECONDS = 300.0
"""The same for those of a bucket, and for tags that were refused."""
MAX_REMEMBERED = 10_000
NO_TAGS = frozenset(["NoSuchTagSet", "MethodNotAllowed", "NotImplemented"])
"""What a store says where there are no tags, or that has no such notion."""


class Wish(Enum):
    """What is to become of an object that is read."""

    KEEP = auto()
    """It is kept, and answered from the cache."""
    PASS = auto()
    """This read passes the cache. What is kept stays: it may be for somebody else, or for later."""
    DROP = auto()
    """Nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was said when tags were asked for."""

    tags: Tags
    until: float
    """When they are asked for again."""


class Choice:
    """What judges objects."""

    def __init__(self, inner: S3, changes: Changes, limits: ReadCache, consent: Consent) -> None:
        """Take who is asked for tags, and for consent."""
        self._client = Client(inner)
        self._changes = changes
        self._limits = limits
        self._consent = consent
        self._of_objects: BoundedMap[tuple[str, str], dict[str, Asked]] = BoundedMap(MAX_REMEMBERED)
        """By version."""
        self._of_buckets: BoundedMap[str, Asked] = BoundedMap(MAX_REMEMBERED)

    @property
    def text(self) -> str:
        """The filter as it is written."""
        return str(self._limits.filter)

    @property
    def is_personal(self) -> bool:
        """Whether the filter looks at who asks."""
        return self._limits.filter.asks_for(Member.IDENTITY)

    def leaves_out(self, call: Call) -> bool:
        """Whether the filter leaves out what a read asks for by its name, and by who asks. A tag may say otherwise."""
        return decide(self._limits.filter, Subject(call.bucket, call.key, identity=call.identity)).answer is Truth.NO

    def of_kept(self, spot: Spot, identity: str | None, headers: AnyHeaders | None, length: int, tags: Tags) -> Truth:
        """What is said of an object that is cached, without asking anybody. Unknown is what only tags of its bucket
        could tell, or who asks."""
        asked = self._of_buckets.get(spot.bucket)
        return self._judge(spot, identity, headers, length, tags, asked.tags if asked else None)

    async def may_answer(self, spot: Spot, identity: str, headers: AnyHeaders | None, length: int, tags: Tags) -> bool:
        """Whether an object that is cached may be answered without asking the remote."""
        if self.of_kept(spot, identity, headers, length, tags) is Truth.NO:
            return False
        return await self._consent.allows(told(spot, headers, length, tags))

    async def wants(self, call: Call, spot: Spot, headers: AnyHeaders, length: int) -> tuple[Wish, Tags]:
        """What becomes of an object of which an answer to a read has these headers; and its tags, where they were
        asked for."""
        truth, tags = await self._filtered(call, spot, headers, length)
        if truth is not Truth.YES:
            return Wish.PASS if self.is_personal else Wish.DROP, tags
        if not self._consent.is_asked_for:
            return Wish.KEEP, tags
        if tags is None:
            tags = await self._tags_of(call, spot, 0)
        verdict = await self._consent.verdict(told(spot, headers, length, tags))
        if verdict is Verdict.DENY:
            return Wish.DROP, tags
        return Wish.KEEP if self._consent.lets(verdict) else Wish.PASS, tags

    async def _filtered(self, call: Call, spot: Spot, headers: AnyHeaders, length: int) -> tuple[Truth, Tags]:
        """What tags and the filter say."""
        said = headers.get(TAG_COUNT, "")
        number = int(said) if said.isdigit() else 0
        tags = await self._tags_of(call, spot, number) if number else None
        if number and tags is None:
            return Truth.UNKNOWN, None
        truth = self._judge(spot, call.identity, headers, length, tags, None)
        if truth is Truth.UNKNOWN and tags is None and self._limits.filter.asks_for(Member.TAG):
            tags = await self._tags_of(call, spot, number)
            truth = self._judge(spot, call.identity, headers, length, tags, None)
        if truth is Truth.UNKNOWN and self._limits.filter.asks_for(Member.BUCKET_TAG):
            of_bucket = await self._tags_of_bucket(call)
            truth = self._judge(spot, call.identity, headers, length, tags, of_bucket)
        return truth, tags

    async def wants_delivered(self, delivered: Delivered, length: int) -> tuple[bool, Tags]:
        """Whether what the queue has delivered is kept. It says itself what it is: no tags are asked for."""
        members = delivered.members
        tags = requests.tags_in(members.get(TAGGING, ""))
        headers = CIMultiDict((name, value) for name, value in members.items() if name != TAGGING)
        spot = Spot(delivered.bucket, delivered.key)
        if self.of_kept(spot, delivered.identity, headers, length, tags) is not Truth.YES:
            return False, tags
        return await self._consent.allows(told(spot, headers, length, tags)), tags

    def forget(self, bucket: str, key: str) -> None:
        """Forget the tags of a key that is being changed; of a bucket and of all objects where `key` is ""."""
        if key:
            self._of_objects.forget((bucket, key))
        else:
            self._of_buckets.forget(bucket)
            self._of_objects = BoundedMap(MAX_REMEMBERED)

    def _judge(
        self,
        spot: Spot,
        identity: str | None,
        headers: AnyHeaders | None,
        length: int,
        tags: Tags,
        of_bucket: Tags,
    ) -> Truth:
        own = SAID.get(tags.get(TAG, "")) if tags is not None else None
        if own is not None or not self._limits.filter.rules:
            return own or Truth.YES
        described, metadata = _described(headers, length)
        subject = Subject(spot.bucket, spot.key, of_bucket, tags, described, metadata, identity)
        return decide(self._limits.filter, subject).answer

    async def _tags_of(self, call: Call, spot: Spot, number: int) -> Tags:
        """The tags of an object that has so many (0: nobody says how many)."""
        known = self._of_objects.get((spot.bucket, spot.key)) or {}
        asked = known.get(spot.version)
        is_new = asked is not None and tick() < asked.until
        if asked is not None and is_new and (not number or asked.tags is None or len(asked.tags) == number):
            return asked.tags
        version = {"VersionId": spot.version} if spot.version else {}
        with self._changes.era(spot.bucket, spot.key) as era:
            tags = await self._ask(call, "GetObjectTagging", {"Bucket": spot.bucket, "Key": spot.key, **version})
            if era.sound:
                until = tick() + (BUCKET_TAGS_SECONDS if tags is None else OBJECT_TAGS_SECONDS)
                self._of_objects[spot.bucket, spot.key] = {**known, spot.version: Asked(tags, until)}
        return tags

    async def _tags_of_bucket(self, call: Call) -> Tags:
        asked = self._of_buckets.get(call.bucket)
        if asked is None or tick() >= asked.until:
            with self._changes.era(call.bucket, "") as era:
                tags = await self._ask(call, "GetBucketTagging", {"Bucket": call.bucket})
                asked = Asked(tags, tick() + BUCKET_TAGS_SECONDS)
                if era.sound:
                    self._of_buckets[call.bucket] = asked
        return asked.tags

    async def _ask(self, call: Call, operation: str, named: Mapping[str, Any]) -> Tags:
        """Ask as who reads; None where nobody says."""
        try:
            answer = await self._client.acting(call.identity, call.trace).ask(operation, named, fresh=True)
        except S3Error as error:
            return {} if error.code in NO_TAGS else None
        return answer.tags


def told(spot: Spot, headers: AnyHeaders | None, length: int, tags: Tags) -> Subject:
    """What a policy gets to know of an object. Its length is known in any case."""
    described, metadata = _described(headers, length)
    described = {"content-length": str(length)} if described is None else described
    return Subject(spot.bucket, spot.key, None, tags, described, metadata, None)


def _described(headers: AnyHeaders | None, length: int) -> tuple[Values, Values]:
    """Headers and metadata as rules name them; the length is that of the object."""
    if headers is None:
        return None, None
    lower = {name.lower(): value for name, value in headers.items()}
    metadata = {name.removeprefix(METADATA): value for name, value in lower.items() if name.startswith(METADATA)}
    described: dict[str, str | None] = {name: value for name, value in lower.items() if not name.startswith(METADATA)}
    described["content-length"] = str(length)
    return described, metadata
