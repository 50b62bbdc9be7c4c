"""How a client asks a gateway, what it is owed at once, and what the remote has after a drain."""

import random
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from s3d.api import NO_TERMS, Terms
from s3d.errors import S3Error
from tests.callers import Answer, ask
from tests.machine import views
from tests.machine.answers import away, said, same
from tests.machine.world import HOLD, IDENTITIES, MEMORY, NAMES, OWED, Paging, World
from tests.model import Model, State, Wrong, thing
from tests.onion import LEFT, Onion


class Client(RuleBasedStateMachine):
    """A run, from the first start of a gateway on."""

    world: ClassVar[World]

    def __init__(self) -> None:
        if self.world.failure is not None:
            raise self.world.failure
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="s3d-machine-", dir=MEMORY if MEMORY.is_dir() else None))
        self.remote = self.world.remote()
        self.model = Model()
        self.bucket = f"machine-{secrets.token_hex(6)}"
        self.conflicts: set[str] = set()
        """Keys of which a write may be parked because somebody else wrote them."""
        self.parked_by_discard: set[str] = set()
        """Keys of which a delete was to follow what a person has discarded."""
        self.tags_hold = False
        """Whether the bucket's tags hold what is written to it."""
        self.rules_hold = False
        """Whether the push filter or the policy holds everything."""
        self.stays: set[tuple[str, str]] = set()
        """Keys and marks of puts that were queued since: none of them may be sent."""
        self.looked_at = 0
        """How much of what has passed to the remote was looked at."""
        self.world.runs += 1
        self.onion = Onion(
            self.root, self.remote, self.world.disk, self.world.loop, self.bucket, cache=self.world.cache
        )
        self.numbers = iter(range(1, 1 << 30))
        self.copied: set[str] = set()
        """Marks that a copy carries too: they say nothing of the order of writes any more."""
        self.world.trace.clear()
        self.paging: Paging | None = None
        self.seen: object = None
        """What was told of when the views were compared last."""
        self.fate = ""
        """What became at the remote of the client's request before; "unsure": of one that may have been served here."""
        self.chance: random.Random | None = None
        """Chooses who asks; None where all requests are the gateway's own."""
        self.newest: dict[str, tuple[str, str]] = {}
        """By key who wrote last what the queue took, and its mark."""
        self.handed: set[tuple[str, str]] = set()
        """Keys, and marks of writes that another identity's write stands behind."""
        self.excused: set[str] = set()
        """Keys of which something was kept back: what is delivered behind that supersedes it (Q-2a)."""
        self.onion.run(self._begin())

    @initialize(number=st.integers(0, 1 << 32), shared=st.booleans())
    def come_in(self, number: int, shared: bool) -> None:
        """Everybody acts as the gateway, or two identities take turns."""
        if shared if self.world.shared is None else self.world.shared:
            self.chance = random.Random(number)
            for identity in IDENTITIES[1:]:
                self.onion.run(self._prove_all(identity))

    @property
    def held(self) -> bool:
        """Whether something holds what is written to the bucket."""
        return self.tags_hold or self.rules_hold

    @property
    def who(self) -> str:
        """The identity that has asked last."""
        return self.model.asking

    async def _begin(self) -> None:
        await ask(self.remote, "CreateBucket", {"Bucket": self.bucket}, typed=True)
        if self.world.versions and not self.world.runs % 3:
            enabled = {"VersioningConfiguration": {"Status": "Enabled"}}
            await ask(self.remote, "PutBucketVersioning", {"Bucket": self.bucket, **enabled}, typed=True)
        await self.onion.start()
        await self._prove(IDENTITIES[0])
        self.model.put("c", thing(b""))

    async def _prove(self, identity: str) -> None:
        """Once the remote has judged them, no put waits for it: neither one with tags nor one without."""
        for members in ({"Tagging": "t=1"}, {}):
            await self._asked(identity, "PutObject", b"", **members)

    async def _asked(self, identity: str, operation: str, data: bytes | None = None, **params: Any) -> Answer:
        named = {"Bucket": self.bucket, "Key": "c", **params}
        answer, _ = await self.onion.ask(operation, named, data, owed=True, identity=identity)
        assert isinstance(answer, Answer), answer
        return answer

    async def _prove_all(self, identity: str) -> None:
        """The same for an identity of which nothing is taken for granted: an upload in parts and a delete, too."""
        asked = partial(self._asked, identity)
        upload = (await asked("CreateMultipartUpload")).result["UploadId"]
        part = await asked("UploadPart", b"x", UploadId=upload, PartNumber=1)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part.result["ETag"]}]}
        await asked("CompleteMultipartUpload", UploadId=upload, MultipartUpload=parts)
        await asked("DeleteObject")
        await self._prove(identity)

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

    def step(self, name: str) -> None:
        """Count a step that is no operation of a client."""
        self.world.steps += 1
        self.world.answered[name] += 1
        self.world.trace.append(name)

    def client(
        self,
        operation: str,
        key: str = "",
        data: bytes | None = None,
        *,
        identity: str | None = None,
        terms: Terms = NO_TERMS,
        **params: Any,
    ) -> Answer | S3Error:
        """Ask for an operation, as somebody unless it is said who; count it where it is answered."""
        if identity is None:
            identity = self.chance.choice(IDENTITIES) if self.chance else IDENTITIES[0]
        self.model.asking = identity
        if "Metadata" in params:
            self.onion.journal.authors[params["Metadata"]["n"]] = identity
        named = {"Bucket": self.bucket, **({"Key": key} if key else {}), **params}

        async def asking() -> tuple[Answer | S3Error, str]:
            decided_there = operation == "PutObject" and {"IfMatch", "IfNoneMatch"} & {*params}
            waits = operation in ("GetObject", "HeadObject") and self.of_another(key)
            owed = operation in OWED and not decided_there and not waits
            answer = await self.onion.ask(operation, named, data, owed=owed, identity=identity, terms=terms)
            await self.onion.breathe()
            return answer

        self.world.steps += 1
        started = time.perf_counter()
        self.world.trace.append(f"{identity or 'own'}: {operation} {key} {params}"[:200])
        answer, name = self.onion.run(asking())
        self.fate = self.onion.journal.fate(name) or ("unsure" if answer is LEFT else "")
        told = f"{answer.status} {answer.etag}" if isinstance(answer, Answer) else str(answer)
        self.world.trace[-1] += f" -> {told[:100]} ({time.perf_counter() - started:.3f} s)"
        if not away(answer):
            self.world.answered[operation] += 1
        if self.onion.journal.wrong:
            raise Wrong(self.onion.journal.wrong[0])
        if isinstance(answer, Answer):
            self.hand_over(operation, key, answer, params)
        return answer

    def hand_over(self, operation: str, key: str, answer: Answer, params: dict[str, Any]) -> None:
        """Note whose queued put of a key another identity's write stands behind: the remote must get it (Q-2a)."""
        if operation == "DeleteObjects":
            for one in params["Delete"]["Objects"]:
                self.hand_over("DeleteObject", one["Key"], answer, {})
        if operation not in ("PutObject", "DeleteObject", "CompleteMultipartUpload"):
            return
        before = self.newest.pop(key, None)
        if before is not None and before[0] != self.who:
            self.handed.add((key, before[1]))
        if operation == "PutObject" and answer.headers.get("x-s3d-durability") == "local":
            self.newest[key] = (self.who, params["Metadata"]["n"])
            if self.rules_hold:
                self.stays.add((key, params["Metadata"]["n"]))

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

    @invariant()
    def all_who_tell_of_a_problem_tell_the_same(self) -> None:
        """Status, metric, readiness, page, exit code and conditions (O-4), when anything of it has changed."""
        there = {state for state, number in self.onion.queue.states().items() if number}
        now = there & {"parked", "quarantined"}, self.onion.queue.paused_lanes(), self.onion.health.state
        if now != self.seen:
            self.seen = now
            self.world.told |= views.look(self.onion)

    @invariant()
    def nothing_leaves_that_rules_hold(self) -> None:
        """What was queued while a filter or a policy holds everything is not sent (F-3a, F-4a)."""
        passed = self.onion.journal.passed
        for operation, key, name, _ in passed[self.looked_at :]:
            if operation == "PutObject" and (key, name) in self.stays:
                raise Wrong(f"write {name} of {key!r} was sent, and a rule holds it")
        self.looked_at = len(passed)

    def revoke_keys(self, who: str) -> None:
        """Have the remote refuse the keys of one identity, and of nobody else."""
        self.step("revocation")
        self.excused |= {*NAMES}
        self.onion.flaky.revoked = frozenset([who])

    def number(self) -> str:
        """The mark of a write."""
        return str(next(self.numbers))

    def of_another(self, key: str) -> bool:
        """Whether what is pending of a key may be another identity's, so that only the remote can answer (A-8a)."""
        return self.pending(key) and self.model.writers.get(key, self.who) != self.who

    def pending(self, key: str) -> bool:
        """Whether the gateway says that a key has changes that the remote has not confirmed."""
        return bool(self.onion.queue.object_status(self.bucket, key)["state"] != "delivered")

    def not_there(self, key: str, error: S3Error) -> None:
        """A call says that there is no such object."""
        if error.status != 404:
            raise Wrong(f"a call on {key!r} fails with {error}") from error
        self.model.see(key, lambda state: state is None, error)

    @rule()
    def drain(self) -> None:
        self.step("drain")
        self.onion.run(self._drained())

    async def _drained(self) -> None:
        """After a drain the remote has what was acknowledged."""
        await self.onion.drain()
        for key in self.model.may:
            if (state := self.onion.queue.object_status(self.bucket, key)["state"]) != "delivered":
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
        self.judge_hand_overs()

    async def judge_kept(self, key: str, state: str) -> None:
        """What a drain leaves is kept back for a reason, and is what was acknowledged last."""
        tagged = any(one is not None and HOLD[0] in one.tags for one in self.model.states(key))
        reasons = {
            "held": self.held or tagged,
            "parked": key in self.onion.journal.refused | self.conflicts | self.parked_by_discard,
            "waiting": self.waits(key),
        }
        if not reasons.get(state):
            raise Wrong(f"{key!r} is {state} after a drain")
        if (writer := self.model.writers.get(key)) is None:
            # Only who wrote what is kept back may see it, and nobody can say who that is.
            return
        named = {"Bucket": self.bucket, "Key": key}
        answer, _ = await self.onion.ask("HeadObject", named, owed=True, identity=writer)
        if isinstance(answer, Answer):
            self.model.see(key, lambda one: same(one, answer), f"{said(answer)} while it is {state}")
        else:
            self.not_there(key, answer)

    def waits(self, key: str) -> bool:
        """Whether a key waits for another change."""
        return any(one["waits_for"] for one in self.onion.queue.object_status(self.bucket, key)["changes"])

    def judge_order(self) -> None:
        """The writes of a key reach the remote in the order in which they were acknowledged."""
        newest: dict[tuple[str, str | None], int] = {}
        for operation, key, name, fate in self.onion.journal.passed:
            if operation == "PutObject" and name.isdigit() and name not in self.copied:
                author = self.onion.journal.authors[name]
                before = max(newest.get((key, None), 0), newest.get((key, author), 0))
                if int(name) < before:
                    raise Wrong(f"write {name} of {key!r} was sent after write {before}")
                # What is refused to one identity keeps no place in line before what another one wrote earlier (Q-2a).
                newest[key, author if fate == "refused" else None] = int(name)

    def judge_hand_overs(self) -> None:
        """What an identity wrote reached the remote before another's write behind it, unless it was kept back."""
        applied = {one[1:3] for one in self.onion.journal.passed if one[0] == "PutObject" and one[3] == "applied"}
        for key, number in self.handed - applied:
            if key not in self.excused | self.onion.journal.refused:
                raise Wrong(f"write {number} of {key!r} was given up for one of another identity")
        self.handed.clear()
        self.newest.clear()
