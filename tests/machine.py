"""A state machine over the whole onion: operations as clients ask them, and what the world does to a gateway.

Each rule is one step: an operation, an outage, a lost or late answer, a foreign write, a rotten disk, a crash, a drain.
Every answer is held to the reference in tests/model.py, and after a drain so is the remote. Steps and seed say what is
asked; threads run as they like, so that an answer may differ from run to run, but never from what is owed.
"""

import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote_plus

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from s3d.api import S3
from s3d.errors import S3Error
from tests.callers import Answer, ask
from tests.crashes import Disk
from tests.fakes.flaky import REFUSED
from tests.model import Model, State, Thing, Upload, Wrong, assembled, copied, md5, shown, thing
from tests.onion import KEPT, LEFT, Onion

STEPS = 25
"""Steps of one run of the machine, from an empty gateway."""
NAMES = ("a-", "a/b", "a/c/d", "b", "b\u00e9 +", "c")
CONTENTS = {
    "empty": b"",
    "short": b"x",
    "same": b"same bytes",
    "file": bytes(range(256)) * 80,
    "other file": b"y" * 17_000,
}
"""Bodies: some small enough for a row, some in files. A few only, so that ETags repeat where metadata do not."""
FIRST_PART = bytes(5 << 20)
PARTS = {"end": b"the end", "other end": b"another", "5 MiB": FIRST_PART}
FATES = (
    *("unanswered", "lost", "lost", "SlowDown 503", "InternalError 500", "RequestTimeout 400"),
    *("portal", "ingress", "gateway", "gateway", "late", "late"),
)
COUNTED = (
    *"PutObject DeleteObject DeleteObjects CopyObject PutObjectTagging DeleteObjectTagging".split(),
    *"CreateMultipartUpload UploadPart UploadPartCopy CompleteMultipartUpload AbortMultipartUpload".split(),
    *"GetObject HeadObject GetObjectAttributes GetObjectTagging".split(),
    *"ListObjects ListObjectsV2 ListMultipartUploads ListParts ListObjectVersions".split(),
    *("outage", "stall", "trouble", "crash", "foreign write", "rot", "drain"),
    *("refusal", "tags of the bucket", "overtaking", "late arrival", "retry", "discard"),
)
"""What must have been answered, or done, fifty times."""
MEMORY = Path("/dev/shm")
"""Where local dirs are made: what a crash leaves of them is judged here, not by a disk."""
OWED = frozenset(
    "PutObject DeleteObject DeleteObjects GetObject HeadObject PutBucketTagging DeleteBucketTagging".split()
)
"""What is answered also while the remote says nothing."""

keys = st.sampled_from(NAMES)
bodies = st.sampled_from([*CONTENTS])
fresh = st.sampled_from(["short", "file", "other file"])
HOLD = (("s3d.upload", "false"),)
"""Tags by which an object is held."""
tags = st.sampled_from([(), (("t", "1"),), (("t", "2"), ("u", "x y")), HOLD])
a_write = st.sampled_from(["", "", "short", "file"])
some_writes = st.lists(a_write, min_size=1, max_size=3)
few = st.integers(0, 7)
rarely = st.sampled_from([True, False, False])
usually = st.sampled_from([True, True, False])


@dataclass(slots=True)
class Paging:
    """A listing that a client goes through page by page, while the world goes on."""

    operation: str
    params: dict[str, Any]
    names: list[str] = field(default_factory=list)
    etags: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    """How often each key had been changed when it began."""


@dataclass(slots=True)
class World:
    """What a run of the machine is given: a remote, and where it counts."""

    remote: Callable[[], S3]
    loop: asyncio.AbstractEventLoop
    disk: Disk
    versions: bool = True
    """Whether the bucket keeps versions in every third run."""
    tags: bool = True
    """Whether tags of the bucket hold what is written to it."""
    runs: int = 0
    steps: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    """Operations that got an answer which is not 503, and what was done to the gateway."""
    trace: list[str] = field(default_factory=list)
    """The steps of this run."""
    failure: Exception | None = None
    """What the machine found."""


class Gateway(RuleBasedStateMachine):
    """One gateway from its first start on."""

    world: ClassVar[World]

    def __init__(self) -> None:
        if self.world.failure is not None:
            raise self.world.failure
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="s3d-machine-", dir=MEMORY if MEMORY.is_dir() else None))
        self.remote = self.world.remote()
        self.model = Model()
        self.bucket = f"machine-{secrets.token_hex(6)}"
        self.held = False
        """Whether the bucket's tags hold what is written to it."""
        self.world.runs += 1
        self.onion = Onion(self.root, self.remote, self.world.disk, self.world.loop, self.bucket)
        self.numbers = iter(range(1, 1 << 30))
        self.copied: set[str] = set()
        """Marks that a copy carries too: they say nothing of the order of writes any more."""
        self.world.trace.clear()
        self.paging: Paging | None = None
        self.fate = ""
        """What became at the remote of the client's request before; "unsure": of one that may have been served here."""
        self.onion.run(self._begin())

    async def _begin(self) -> None:
        await ask(self.remote, "CreateBucket", {"Bucket": self.bucket}, typed=True)
        if self.world.versions and not self.world.runs % 3:
            enabled = {"VersioningConfiguration": {"Status": "Enabled"}}
            await ask(self.remote, "PutBucketVersioning", {"Bucket": self.bucket, **enabled}, typed=True)
        await self.onion.start()
        # Once the remote has judged them, no put waits for it: neither one with tags nor one without.
        for members in ({"Tagging": "t=1"}, {}):
            await self.onion.ask("PutObject", {"Bucket": self.bucket, "Key": "c", **members}, b"", owed=True)
        self.model.put("c", thing(b""))

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.onion.run(self._drained())
        finally:
            if isinstance(failure := sys.exc_info()[1], Exception):
                self.world.failure = failure
                passed = [f"  {' '.join(one)}" for one in self.onion.journal.passed]
                print("\n".join(["A run that failed:", *self.world.trace, "What passed to the remote:", *passed]))
            self.onion.run(self.onion.end())
            shutil.rmtree(self.root, ignore_errors=True)

    # How a client asks.

    def step(self, name: str) -> None:
        """Count a step that is no operation of a client."""
        self.world.steps += 1
        self.world.answered[name] += 1
        self.world.trace.append(name)

    def client(self, operation: str, key: str = "", data: bytes | None = None, **params: Any) -> Answer | S3Error:
        """Ask for an operation; count it where it is answered."""
        named = {"Bucket": self.bucket, **({"Key": key} if key else {}), **params}

        async def asking() -> tuple[Answer | S3Error, str]:
            decided_there = operation == "PutObject" and {"IfMatch", "IfNoneMatch"} & {*params}
            owed = operation in OWED and not decided_there
            answer = await self.onion.ask(operation, named, data, owed=owed)
            await self.onion.breathe()
            return answer

        self.world.steps += 1
        started = time.perf_counter()
        self.world.trace.append(f"{operation} {key} {params}"[:200])
        answer, name = self.onion.run(asking())
        self.fate = self.onion.journal.fate(name) or ("unsure" if answer is LEFT else "")
        told = f"{answer.status} {answer.etag}" if isinstance(answer, Answer) else str(answer)
        self.world.trace[-1] += f" -> {told[:100]} ({time.perf_counter() - started:.3f} s)"
        if not away(answer):
            self.world.answered[operation] += 1
        if self.onion.journal.wrong:
            raise Wrong(self.onion.journal.wrong[0])
        return answer

    def write(
        self, operation: str, key: str, data: bytes | None = None, *, becomes: Callable[[State], State], **params: Any
    ) -> Answer | None:
        """Ask for a write that may have to wait for the remote: the answer of a success, None where it was refused."""
        answer = self.client(operation, key, data, **params)
        if isinstance(answer, Answer):
            return answer
        if self.held and answer.code == "AccessDenied" and "Nothing was sent" in answer.message:
            # It cannot be queued, and may not leave (Q-11a).
            return None
        if not away(answer):
            raise answer
        before = self.model.states(key)
        if self.fate == "applied":
            self.model.put(key, *map(becomes, before))
        elif self.fate == "unsure":
            self.model.doubt(key, *map(becomes, before))
        return None

    @invariant()
    def the_newest_change_is_the_truth(self) -> None:
        """Nothing is kept back that has a newer acknowledged change of its key (Q-9b)."""
        if broken := self.onion.broken():
            raise Wrong(f"kept back behind newer changes: {broken}")

    def number(self) -> str:
        """The mark of a write."""
        return str(next(self.numbers))

    def pending(self, key: str) -> bool:
        """Whether the gateway says that a key has changes that the remote has not confirmed."""
        return bool(self.onion.queue.object_status(self.bucket, key)["state"] != "settled")

    # Writes.

    @rule(key=keys, body=bodies, kind=st.sampled_from(["", "text/x-a"]))
    def put(self, key: str, body: str, kind: str) -> None:
        self.put_bytes(key, CONTENTS[body], kind)

    def put_bytes(self, key: str, data: bytes, kind: str) -> None:
        """Put an object."""
        number = self.number()
        params = {"Metadata": {"n": number}, **({"ContentType": kind} if kind else {})}
        answer = self.client("PutObject", key, data, **params)
        if not isinstance(answer, Answer):
            raise Wrong(f"a put of {key!r} to a known bucket is refused: {answer}")
        if answer.etag != md5(data):
            raise Wrong(f"a put of {key!r} is acknowledged with ETag {answer.etag}")
        self.model.put(key, thing(data, number, kind or "binary/octet-stream"))

    @rule(key=keys, some=some_writes, answers=st.booleans())
    def write_and_look(self, key: str, some: list[str], answers: bool) -> None:
        """What was written this very instant shows, and so does that it is gone, whether or not the remote has it."""
        self.onion.flaky.stalled = True
        self.write_each(key, some)
        self.get(key)
        if answers:
            self.onion.flaky.release()

    def write_each(self, key: str, some: list[str]) -> None:
        """Put bodies by their names, one after the other; one without a name is a delete."""
        for body in some:
            if body:
                self.put_bytes(key, CONTENTS[body], "")
            else:
                self.delete(key)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        answer = self.client("DeleteObject", key)
        if not isinstance(answer, Answer):
            raise Wrong(f"a delete of {key!r} in a known bucket is refused: {answer}")
        self.model.put(key, None)

    @rule(some=st.lists(keys, min_size=1, max_size=3, unique=True), quiet=st.booleans())
    def delete_many(self, some: list[str], quiet: bool) -> None:
        named = {"Objects": [{"Key": key} for key in some], "Quiet": quiet}
        answer = self.client("DeleteObjects", Delete=named)
        if not isinstance(answer, Answer) or answer.result.get("Errors"):
            raise Wrong(f"deletes of {some} in a known bucket are refused: {answer}")
        for key in some:
            self.model.put(key, None)

    @rule(key=keys, body=bodies, tags=tags)
    def put_with_tags(self, key: str, body: str, tags: tuple[tuple[str, str], ...]) -> None:
        data = CONTENTS[body]
        number = self.number()
        header = "&".join(f"{name}={value.replace(' ', '%20')}" for name, value in tags)
        answer = self.client("PutObject", key, data, Metadata={"n": number}, Tagging=header)
        if not isinstance(answer, Answer):
            raise Wrong(f"a put of {key!r} with tags to a known bucket is refused: {answer}")
        self.model.put(key, thing(data, number, tags=tags))

    @rule(key=keys, fate=st.sampled_from(["applied", "unanswered", "lost", "lost"]))
    def put_again(self, key: str, fate: str) -> None:
        """An application writes the bytes that are there, and says something else of them."""
        known = next(iter(self.model.states(key)))
        data = known.data if known and len(known.data) < len(FIRST_PART) else b"x"
        self.onion.flaky.fates.appendleft(fate)
        self.put_bytes(key, data, "")

    @rule(key=keys, body=bodies, there=st.booleans())
    def put_on_condition(self, key: str, body: str, there: bool) -> None:
        data = CONTENTS[body]
        number = self.number()
        new = thing(data, number)
        known = next(iter(self.model.states(key)))
        condition = {"IfMatch": f'"{known.etag}"'} if there and known else {"IfNoneMatch": "*"}
        try:
            answer = self.write("PutObject", key, data, becomes=lambda _: new, Metadata={"n": number}, **condition)
        except S3Error as error:
            if error.code not in ("PreconditionFailed", "NoSuchKey"):
                raise Wrong(f"a conditional put of {key!r} fails with {error}") from error
            self.model.see(key, lambda state: not holds(condition, state), error)
            return
        if answer:
            self.model.see(key, lambda state: holds(condition, state), f"the success of {condition}")
            self.model.put(key, new)

    @rule(key=keys)
    def untag(self, key: str) -> None:
        self.tag_with(key, ())

    @rule(key=keys, tags=tags)
    def tag(self, key: str, tags: tuple[tuple[str, str], ...]) -> None:
        self.tag_with(key, tags)

    def tag_with(self, key: str, tags: tuple[tuple[str, str], ...]) -> None:
        """Change the tags of an object."""
        document = {"TagSet": [{"Key": name, "Value": value} for name, value in tags]}
        operation = "PutObjectTagging" if tags else "DeleteObjectTagging"
        params: dict[str, Any] = {"Tagging": document} if tags else {}

        def becomes(state: State) -> State:
            return replace(state, tags=tags) if state else None

        try:
            answer = self.write(operation, key, becomes=becomes, **params)
        except S3Error as error:
            self.not_there(key, error)
            return
        if answer:
            self.model.change(key, lambda one: replace(one, tags=tags))

    @rule(source=keys, further=st.integers(1, len(NAMES) - 1))
    def copy(self, source: str, further: int) -> None:
        to = NAMES[(NAMES.index(source) + further) % len(NAMES)]
        before = self.model.states(source)
        self.copied |= {one.number for one in before if one is not None}

        def becomes(state: State) -> State:
            found = [copied(one) for one in before if one is not None]
            return found[0] if len(found) == 1 else state

        try:
            answer = self.write("CopyObject", to, becomes=becomes, CopySource=f"{self.bucket}/{quote(source)}")
        except S3Error as error:
            self.not_there(source, error)
            return
        if answer:
            etag = answer.result["CopyObjectResult"]["ETag"].strip('"')
            self.model.see(source, lambda one: one is not None and md5(one.data) == etag, f"ETag {etag} to a copy")
            self.model.put(to, *(copied(one) for one in self.model.states(source) if one))

    def not_there(self, key: str, error: S3Error) -> None:
        """A call says that there is no such object."""
        if error.status != 404:
            raise Wrong(f"a call on {key!r} fails with {error}") from error
        self.model.see(key, lambda state: state is None, error)

    # Uploads in parts.

    @rule(key=keys)
    def create_upload(self, key: str) -> None:
        """Open an upload."""
        number = self.number()
        answer = self.client("CreateMultipartUpload", key, Metadata={"n": number})
        if isinstance(answer, Answer):
            self.model.uploads.append(Upload(key, answer.result["UploadId"], number))
        elif not away(answer):
            raise Wrong(f"{answer} is no answer to this") from answer

    def upload(self, which: int) -> Upload | None:
        """One of the open uploads, a new one where there is none."""
        if not self.model.uploads:
            self.create_upload(NAMES[which % len(NAMES)])
        return self.model.uploads[which % len(self.model.uploads)] if self.model.uploads else None

    @rule(which=few, number=st.sampled_from([1, 1, 2, 7]), part=st.sampled_from([*PARTS]))
    def put_part(self, which: int, number: int, part: str) -> None:
        data = PARTS[part]
        if not (upload := self.upload(which)):
            return
        answer = self.client("UploadPart", upload.key, data, UploadId=upload.id, PartNumber=number)
        if isinstance(answer, Answer):
            if answer.etag != md5(data):
                raise Wrong(f"a part is acknowledged with ETag {answer.etag}")
            upload.parts[number] = data
            upload.doubtful.discard(number)
        elif away(answer):
            upload.doubtful.add(number)
        else:
            raise Wrong(f"{answer} is no answer to this") from answer

    @rule(which=few, source=keys)
    def copy_part(self, which: int, source: str) -> None:
        if not (upload := self.upload(which)):
            return
        said: dict[str, Any] = {"UploadId": upload.id, "PartNumber": 3, "CopySource": f"{self.bucket}/{quote(source)}"}
        answer = self.client("UploadPartCopy", upload.key, **said)
        if isinstance(answer, Answer):
            etag = answer.result["CopyPartResult"]["ETag"].strip('"')
            self.model.see(source, lambda one: one is not None and md5(one.data) == etag, f"ETag {etag} to a copy")
            upload.parts[3] = next(one.data for one in self.model.states(source) if one)
            upload.doubtful.discard(3)
        elif away(answer):
            upload.doubtful.add(3)
        else:
            self.not_there(source, answer)

    @rule(which=few)
    def list_parts(self, which: int) -> None:
        if not (upload := self.upload(which)):
            return
        answer = self.client("ListParts", upload.key, UploadId=upload.id)
        if isinstance(answer, Answer):
            listed = {one["PartNumber"]: one["ETag"].strip('"') for one in answer.result.get("Parts", ())}
            known = {number: md5(data) for number, data in upload.parts.items()}
            for number in {*listed, *known} - upload.doubtful:
                if listed.get(number) != known.get(number):
                    raise Wrong(f"part {number} is listed as {listed.get(number)}, not {known.get(number)}")
        elif not away(answer):
            raise Wrong(f"{answer} is no answer to this") from answer

    @rule()
    def list_uploads(self) -> None:
        answer = self.client("ListMultipartUploads")
        if isinstance(answer, Answer):
            listed = {one["UploadId"] for one in answer.result.get("Uploads", ())}
            known = {upload.id for upload in self.model.uploads}
            if known - listed:
                raise Wrong(f"open uploads are not listed: {known - listed}")
        elif not away(answer):
            raise Wrong(f"{answer} is no answer to this") from answer

    @rule(which=few)
    def complete(self, which: int) -> None:
        upload = self.upload(which)
        if not upload or not upload.parts or upload.doubtful:
            return
        numbers = [n for n in sorted(upload.parts) if len(upload.parts[n]) >= len(FIRST_PART)]
        numbers = [*numbers, max(upload.parts)] if max(upload.parts) not in numbers else numbers
        new = assembled(upload, numbers)
        parts = [{"PartNumber": number, "ETag": f'"{md5(upload.parts[number])}"'} for number in numbers]
        document: dict[str, Any] = {"MultipartUpload": {"Parts": parts}}
        try:
            answer = self.write(
                "CompleteMultipartUpload", upload.key, becomes=lambda _: new, UploadId=upload.id, **document
            )
        except S3Error as error:
            raise Wrong(f"an upload cannot be completed: {error}") from error
        if answer:
            if answer.etag != new.etag:
                raise Wrong(f"an upload is completed with ETag {answer.etag}, not {new.etag}")
            self.model.put(upload.key, new)
        if answer or self.fate in ("applied", "unsure"):
            self.model.uploads.remove(upload)

    @rule(key=keys, large=st.booleans())
    def whole_upload(self, key: str, large: bool) -> None:
        """All of an upload, from its beginning to its end."""
        before = len(self.model.uploads)
        self.create_upload(key)
        if len(self.model.uploads) > before:
            for number, part in ((1, "5 MiB"), (2, "end")) if large else ((1, "other end"),):
                self.put_part(before, number, part)
            self.complete(before)

    @rule(which=few)
    def abort(self, which: int) -> None:
        if not (upload := self.upload(which)):
            return
        answer = self.client("AbortMultipartUpload", upload.key, UploadId=upload.id)
        if isinstance(answer, Answer) or self.fate in ("applied", "unsure"):
            self.model.uploads.remove(upload)
        elif not away(answer):
            raise Wrong(f"{answer} is no answer to this") from answer

    # Reads.

    @rule(key=keys)
    def get(self, key: str) -> None:
        answer = self.read("GetObject", key)
        if isinstance(answer, Answer):
            self.model.see(
                key, lambda one: same(one, answer) and one is not None and one.data == answer.data, said(answer)
            )

    @rule(key=keys)
    def head(self, key: str) -> None:
        answer = self.read("HeadObject", key)
        if isinstance(answer, Answer):
            size = answer.result["ContentLength"]
            self.model.see(
                key, lambda one: same(one, answer) and one is not None and len(one.data) == size, said(answer)
            )

    @rule(key=keys, first=st.integers(0, 3), size=st.integers(1, 20_000))
    def get_range(self, key: str, first: int, size: int) -> None:
        answer = self.read("GetObject", key, Range=f"bytes={first}-{first + size - 1}")
        if isinstance(answer, Answer):
            part = slice(first, first + size)
            self.model.see(
                key, lambda one: same(one, answer) and one is not None and one.data[part] == answer.data, said(answer)
            )

    @rule(key=keys, none=st.booleans())
    def get_on_condition(self, key: str, none: bool) -> None:
        known = next(iter(self.model.states(key)))
        tag = f'"{known.etag if known else md5(b"")}"'
        answer = self.read("GetObject", key, **{"IfNoneMatch" if none else "IfMatch": tag})
        if isinstance(answer, Answer):
            self.model.see(key, lambda one: same(one, answer) and (f'"{answer.etag}"' == tag) != none, said(answer))

    def read(self, operation: str, key: str, **params: Any) -> Answer | None:
        """Ask for a read of a key; None where it is answered by a status, which is judged."""
        answer = self.client(operation, key, **params)
        if isinstance(answer, Answer):
            return answer
        if away(answer):
            if self.pending(key):
                raise Wrong(f"{operation} of {key!r}, which is pending, is refused: {answer}")
            return None
        match answer.status:
            case 404:
                self.not_there(key, answer)
            case 304:
                self.model.see(key, lambda one: one is not None and params["IfNoneMatch"] == f'"{one.etag}"', answer)
            case 412:
                self.model.see(key, lambda one: one is not None and params["IfMatch"] != f'"{one.etag}"', answer)
            case 416:
                first = int(params["Range"].removeprefix("bytes=").partition("-")[0])
                self.model.see(key, lambda one: one is not None and len(one.data) <= first, answer)
            case _:
                raise Wrong(f"{operation} of {key!r} fails with {answer}")
        return None

    @rule(key=keys)
    def get_tags(self, key: str) -> None:
        answer = self.client("GetObjectTagging", key)
        if isinstance(answer, Answer):
            found = tuple(sorted((one["Key"], one["Value"]) for one in answer.result["TagSet"]))
            self.model.see(key, lambda one: one is not None and one.tags == found, f"tags {found}")
        elif not away(answer):
            self.not_there(key, answer)

    @rule(key=keys)
    def attributes(self, key: str) -> None:
        answer = self.client("GetObjectAttributes", key, ObjectAttributes=["ETag", "ObjectSize"])
        if isinstance(answer, Answer):
            found = answer.result["ETag"].strip('"'), answer.result["ObjectSize"]
            self.model.see(
                key, lambda one: one is not None and (one.etag, len(one.data)) == found, f"attributes {found}"
            )
        elif not away(answer):
            self.not_there(key, answer)

    # Listings.

    @rule(
        second=st.booleans(),
        prefix=st.sampled_from(["", "a", "a/", "b\u00e9"]),
        delimiter=st.sampled_from(["", "/"]),
        most=st.sampled_from([1, 2, 3, 1000]),
        encoded=st.booleans(),
    )
    def list_first(self, second: bool, prefix: str, delimiter: str, most: int, encoded: bool) -> None:
        params: dict[str, Any] = {"Prefix": prefix, "MaxKeys": most}
        params |= {"Delimiter": delimiter} if delimiter else {}
        params |= {"EncodingType": "url"} if encoded else {}
        operation = "ListObjectsV2" if second else "ListObjects"
        self.paging = Paging(operation, params, times=dict(self.model.times))
        self.list_next()

    @rule()
    def list_next(self) -> None:
        if (paging := self.paging) is None:
            return
        answer = self.client(paging.operation, **paging.params)
        if not isinstance(answer, Answer):
            if not away(answer):
                raise Wrong(f"{paging.operation} fails with {answer}")
            return
        result = answer.result
        decode = unquote_plus if result.get("EncodingType") == "url" else str
        page = [decode(one["Key"]) for one in result.get("Contents", ())]
        page += [decode(one["Prefix"]) for one in result.get("CommonPrefixes", ())]
        paging.names += sorted(page, key=str.encode)
        if sorted(set(paging.names), key=str.encode) != paging.names:
            raise Wrong(f"a listing is out of order or says a name twice: {paging.names}")
        paging.etags |= {decode(one["Key"]): one["ETag"].strip('"') for one in result.get("Contents", ())}
        if not result["IsTruncated"]:
            self.paging = None
            self.judge_listing(paging)
        elif not page:
            raise Wrong("a page is empty and truncated")
        elif paging.operation == "ListObjectsV2":
            paging.params = paging.params | {"ContinuationToken": result["NextContinuationToken"]}
        else:
            marker = result.get("NextMarker")
            paging.params = paging.params | {"Marker": decode(marker) if marker else paging.names[-1]}

    @rule(key=keys, body=bodies, versions=st.booleans())
    def list_across_a_push(self, key: str, body: str, versions: bool) -> None:
        """What is pending when a listing begins reaches the remote before it ends."""
        flaky = self.onion.flaky
        flaky.stalled = True
        self.put_bytes(key, CONTENTS[body], "")
        flaky.stalled, flaky.sluggish = False, True
        self.onion.loop.call_later(0.001, flaky.release)
        if versions:
            self.list_versions("")
        else:
            self.paging = Paging("ListObjectsV2", {"Prefix": "", "MaxKeys": 1000}, times=dict(self.model.times))
            self.list_next()
        flaky.sluggish = False

    @rule(second=st.booleans(), delimiter=st.sampled_from(["", "/"]), key=keys, body=bodies)
    def list_while_it_drains(self, second: bool, delimiter: str, key: str, body: str) -> None:
        """What is pending on the first page is not any more on a later one (R-8)."""
        self.onion.flaky.stalled = True
        self.put_bytes(key, CONTENTS[body], "")
        self.list_first(second, "", delimiter, 1, encoded=False)
        self.onion.flaky.release()
        for _ in NAMES:
            self.list_next()

    def judge_listing(self, paging: Paging) -> None:
        """Of keys that nobody changed meanwhile exactly those that are there."""
        steady = {key for key in self.model.may if self.model.times.get(key) == paging.times.get(key)}
        prefix, delimiter = paging.params["Prefix"], paging.params.get("Delimiter", "")
        for key in steady:
            if not key.startswith(prefix):
                continue
            group = rolled(key, prefix, delimiter)
            if group:
                if group not in paging.names and None not in self.model.states(key):
                    raise Wrong(f"a listing leaves out {group!r}, in which {key!r} is: {paging.names}")
                continue
            etag = paging.etags.get(key)
            self.model.see(key, lambda one: (one.etag if one else None) == etag, f"ETag {etag} in a listing")  # noqa: B023
        for name in paging.names:
            inside = [key for key in self.model.may if key == name or rolled(key, prefix, delimiter) == name]
            if all(key in steady and self.model.states(key) == {None} for key in inside):
                raise Wrong(f"a listing shows {name!r}, where nothing is")

    @rule(prefix=st.sampled_from(["", "a/"]))
    def list_versions(self, prefix: str) -> None:
        answer = self.client("ListObjectVersions", Prefix=prefix)
        if isinstance(answer, Answer):
            listed = {
                one["Key"]: one["ETag"].strip('"') for one in answer.result.get("Versions", ()) if one["IsLatest"]
            }
            for key in self.model.may:
                if key.startswith(prefix):
                    etag = listed.get(key)
                    self.model.see(key, lambda one: (one.etag if one else None) == etag, f"ETag {etag} of versions")  # noqa: B023
        elif not away(answer):
            raise Wrong(f"ListObjectVersions fails with {answer}")

    # What the world does.

    @rule()
    def outage(self) -> None:
        self.step("outage")
        self.onion.flaky.leave()
        self.onion.run(self.onion.breathe())

    @rule()
    def back(self) -> None:
        self.step("back")
        self.onion.flaky.come_back()
        self.onion.run(self.onion.breathe())

    @rule()
    def stall(self) -> None:
        """The remote takes requests and says nothing."""
        self.step("stall")
        self.onion.flaky.stalled = True
        self.onion.run(self.onion.breathe())

    @rule(fate=st.sampled_from(["", "unanswered", "lost"]))
    def release(self, fate: str) -> None:
        """It says something at last, or nothing ever of what it has."""
        self.step("release")
        self.onion.flaky.release(fate)
        self.onion.run(self.onion.breathe())

    @rule(fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=3))
    def trouble(self, fates: list[str]) -> None:
        self.step("trouble")
        self.onion.flaky.fates.extend(fates)

    @rule(power_cut=usually, arrives=st.booleans())
    def crash(self, power_cut: bool, arrives: bool) -> None:
        self.step("crash")
        self.onion.crash(power_cut=power_cut, arrives=arrives)
        self.onion.run(self.onion.breathe())

    @rule(
        key=keys, body=st.sampled_from(["short", "file", "other file"]), power_cut=st.booleans(), arrives=st.booleans()
    )
    def crash_after_a_put(self, key: str, body: str, power_cut: bool, arrives: bool) -> None:
        """What was acknowledged this very instant is not with the remote yet."""
        self.onion.flaky.stalled = True
        self.put_bytes(key, CONTENTS[body], "")
        self.crash(power_cut, arrives)
        self.get(key)

    @rule(key=keys, first=a_write, newer=some_writes, fate=st.sampled_from(["late", "gateway"]))
    def arrive_late(self, key: str, first: str, newer: list[str], fate: str) -> None:
        """What the remote took and did not confirm arrives after a newer change of its key was delivered (Q-3d)."""
        self.step("late arrival")
        self.deliver(key)
        if self.held:
            self.tag_bucket(False)
        self.onion.flaky.fate_of[key] = fate
        self.write_each(key, [first])
        self.onion.run(self.onion.quiet(self.bucket, key))
        self.write_each(key, newer)
        self.drain()

    def deliver(self, key: str) -> None:
        """End every trouble, and let what is on its way of a key be delivered."""
        self.onion.flaky.come_back()
        self.onion.flaky.release()
        self.onion.flaky.fates.clear()
        self.onion.run(self.onion.quiet(self.bucket, key))

    @rule(key=keys, body=bodies, gone=st.booleans())
    def foreign(self, key: str, body: str, gone: bool) -> None:
        """Somebody writes past the gateway. What is pending is pushed over it; the last push wins (Q-18)."""
        data = CONTENTS[body]
        further = NAMES[NAMES.index(key) :] + NAMES[: NAMES.index(key)]
        free = [one for one in further if not self.pending(one) and one not in self.onion.flaky.holds]
        if not free:
            return
        key = free[0]
        self.step("foreign write")
        number = self.number()
        named = {"Bucket": self.bucket, "Key": key}
        if gone:
            self.onion.run(ask(self.remote, "DeleteObject", named, typed=True))
        else:
            params = {**named, "Metadata": {"n": number}}
            self.onion.run(ask(self.remote, "PutObject", params, data, headers={"User-Agent": ""}))
        self.onion.journal.passed.append(("PutObject", key, "foreign", "applied"))
        self.model.put(key, None if gone else thing(data, number))

    # What is kept back, and what a person does with it.

    @rule(key=keys, body=bodies, gone=st.booleans())
    def refuse(self, key: str, body: str, gone: bool) -> None:
        """The next change of a key is refused for good: it is parked, and answers reads."""
        self.step("refusal")
        self.onion.flaky.fate_of[key] = REFUSED
        if gone:
            self.delete(key)
        else:
            self.put_bytes(key, CONTENTS[body], "")
        self.onion.run(self.onion.breathe())
        self.get(key)

    @rule(held=rarely)
    def tag_bucket(self, held: bool) -> None:
        """The bucket's own tags hold all that waits in it, or release it."""
        if not self.world.tags or self.onion.flaky.away:
            return
        self.step("tags of the bucket")
        tags = {"TagSet": [{"Key": name, "Value": value} for name, value in HOLD]}
        answer = self.client("PutBucketTagging", Tagging=tags) if held else self.client("DeleteBucketTagging")
        if not isinstance(answer, Answer):
            raise Wrong(f"the tags of a bucket cannot be changed: {answer}")
        self.held = held

    @rule(key=keys, first=fresh, second=some_writes, held=rarely)
    def overtake(self, key: str, first: str, second: list[str], held: bool) -> None:
        """A request stands in line between two changes of its key, as the first one is refused for good, or held."""
        flaky = self.onion.flaky
        self.step("overtaking")
        self.deliver(key)
        flaky.stalled = True
        self.put_bytes(key, CONTENTS[first], "")
        self.onion.run(self.onion.breathe())
        between = self.onion.begin("PutObjectAcl", {"Bucket": self.bucket, "Key": key, "ACL": "private"})
        self.onion.run(self.onion.breathe())
        self.write_each(key, second)
        before = self.held
        if held:
            self.tag_bucket(True)
        flaky.release("RequestTimeout 400" if held else REFUSED)
        self.onion.run(self.onion.end_of(between))
        self.get(key)
        self.the_newest_change_is_the_truth()
        if self.held and not before:
            self.tag_bucket(False)
            self.get(key)

    @rule()
    def retry(self) -> None:
        """A person has what is parked tried again."""
        self.step("retry")
        self.onion.run(self.onion.queue.retry(self.bucket, "", None))
        self.onion.run(self.onion.breathe())

    @rule(key=keys, which=few)
    def discard(self, key: str, which: int) -> None:
        """A person drops what is kept back of a key: from then on the remote answers."""
        if not self.kept():
            self.refuse(key, "short", gone=False)
            self.drain()
        found = self.kept()
        if not found:
            return
        key, kept = found[which % len(found)]
        self.step("discard")
        for change in kept:
            self.onion.run(self.onion.queue.discard("", "", change["seq"]))
        self.model.put(key, self.onion.run(self._at_remote(key)))

    def kept(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Keys of which nothing is on its way and something is kept back, with that."""
        changes = [(key, self.onion.queue.object_status(self.bucket, key)["changes"]) for key in NAMES]
        return [(key, some) for key, some in changes if some and all(one["state"] in KEPT for one in some)]

    async def _at_remote(self, key: str) -> State:
        named = {"Bucket": self.bucket, "Key": key}
        try:
            answer = await ask(self.remote, "GetObject", named, typed=True)
            tagging = await ask(self.remote, "GetObjectTagging", named, typed=True)
        except S3Error as error:
            if error.status != 404:
                raise
            return None
        found = tuple(sorted((one["Key"], one["Value"]) for one in tagging.result["TagSet"]))
        n = answer.result.get("Metadata", {}).get("n", "")
        return Thing(answer.data, answer.etag, n, answer.result.get("ContentType", ""), found)

    @rule(key=keys)
    def rot(self, key: str) -> None:
        """A body changes on the disk while it waits: nobody gets it, and a new put mends the key (D-4)."""
        self.onion.flaky.come_back()
        if self.held:
            self.tag_bucket(False)
        self.onion.flaky.fate_of.pop(key, None)
        self.onion.flaky.leave()
        directory = self.onion.directory / "queue" / "bodies"
        before = {path.name for path in directory.iterdir()}
        self.put_bytes(key, CONTENTS["file"], "")
        path = next(path for path in directory.iterdir() if path.name not in before)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        self.step("rot")
        self.onion.flaky.come_back()
        self.onion.run(self.onion.drain())
        if (state := self.onion.queue.object_status(self.bucket, key)["state"]) != "quarantined":
            raise Wrong(f"a rotten body is {state}")
        if isinstance(answer := self.client("GetObject", key), Answer) or answer.status != 503:
            raise Wrong(f"a rotten object is answered by {answer}")
        self.put_bytes(key, CONTENTS["same"], "")

    @rule()
    def drain(self) -> None:
        self.step("drain")
        self.onion.run(self._drained())

    async def _drained(self) -> None:
        """After a drain the remote has what was acknowledged."""
        await self.onion.drain()
        for key in self.model.may:
            if (state := self.onion.queue.object_status(self.bucket, key)["state"]) != "settled":
                await self.judge_kept(key, state)
                continue
            named = {"Bucket": self.bucket, "Key": key}
            try:
                answer = await ask(self.remote, "GetObject", named, typed=True)
            except S3Error as error:
                if error.status != 404:
                    raise
                self.model.see(key, lambda one: one is None, "nothing at the remote")
                continue
            self.model.see(
                key,
                lambda one: same(one, answer) and one is not None and one.data == answer.data,  # noqa: B023
                f"{said(answer)} at the remote",
            )
        self.judge_order()

    async def judge_kept(self, key: str, state: str) -> None:
        """What a drain leaves is kept back for a reason, and is what was acknowledged last."""
        tagged = any(one is not None and HOLD[0] in one.tags for one in self.model.states(key))
        if not {"held": self.held or tagged, "parked": key in self.onion.journal.refused}.get(state):
            raise Wrong(f"{key!r} is {state} after a drain")
        answer, _ = await self.onion.ask("HeadObject", {"Bucket": self.bucket, "Key": key}, owed=True)
        if isinstance(answer, Answer):
            self.model.see(key, lambda one: same(one, answer), f"{said(answer)} while it is {state}")
        else:
            self.not_there(key, answer)

    def judge_order(self) -> None:
        """The writes of a key reach the remote in the order in which they were acknowledged."""
        newest: dict[str, int] = {}
        for operation, key, name, _ in self.onion.journal.passed:
            if operation == "PutObject" and name.isdigit() and name not in self.copied:
                if int(name) < newest.get(key, 0):
                    raise Wrong(f"write {name} of {key!r} was sent after write {newest[key]}")
                newest[key] = int(name)


def away(answer: Answer | S3Error) -> bool:
    """Whether a call was refused for now."""
    return isinstance(answer, S3Error) and (
        answer.status in (500, 502, 503, 504) or answer is LEFT or answer.code in ("RequestTimeout", "NotFound")
    )


def same(state: State, answer: Answer) -> bool:
    """Whether an answer shows the members of a state."""
    return state is not None and (
        answer.etag,
        answer.result.get("Metadata", {}).get("n", ""),
        answer.result.get("ContentType"),
        answer.result.get("TagCount", 0),
    ) == (state.etag, state.number, state.kind, len(state.tags))


def said(answer: Answer) -> str:
    """An answer in a few words."""
    n = answer.result.get("Metadata", {}).get("n", "")
    return (
        shown(Thing(answer.data, answer.etag, n, answer.result.get("ContentType", "")))
        + f", {answer.result.get('TagCount', 0)} tags"
    )


def holds(condition: dict[str, str], state: State) -> bool:
    """Whether a condition of a write holds."""
    return (
        state is None if "IfNoneMatch" in condition else state is not None and condition["IfMatch"] == f'"{state.etag}"'
    )


def rolled(key: str, prefix: str, delimiter: str) -> str:
    """The common prefix that stands for a key; "" where it stands for itself."""
    at = key.find(delimiter, len(prefix)) if delimiter and key.startswith(prefix) else -1
    return key[: at + len(delimiter)] if at >= 0 else ""


def play(world: World, steps: int, number: int) -> None:
    """Run the machine for about so many steps, chosen by a seed. Raises what it found first."""
    machine = seed(number)(type("Gateway", (Gateway,), {"world": world}))
    how = settings(
        max_examples=max(1, steps // STEPS),
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine, settings=how)
    except Exception as error:  # noqa: BLE001 (it is raised again, or what is behind it)
        # Hypothesis repeats what failed, and says what came of that. Threads run as they like.
        raise world.failure or error from None
