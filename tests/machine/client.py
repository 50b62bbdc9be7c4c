"""How a client asks a gateway, what it is owed at once, and what the remote has after a drain."""

import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from s3d.api import NO_TERMS, Terms
from s3d.errors import S3Error
from tests.callers import Answer, ask
from tests.machine.answers import away, said, same
from tests.machine.world import HOLD, MEMORY, OWED, Paging, World
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

    def step(self, name: str) -> None:
        """Count a step that is no operation of a client."""
        self.world.steps += 1
        self.world.answered[name] += 1
        self.world.trace.append(name)

    def client(
        self, operation: str, key: str = "", data: bytes | None = None, *, terms: Terms = NO_TERMS, **params: Any
    ) -> Answer | S3Error:
        """Ask for an operation; count it where it is answered."""
        named = {"Bucket": self.bucket, **({"Key": key} if key else {}), **params}

        async def asking() -> tuple[Answer | S3Error, str]:
            decided_there = operation == "PutObject" and {"IfMatch", "IfNoneMatch"} & {*params}
            owed = operation in OWED and not decided_there
            answer = await self.onion.ask(operation, named, data, owed=owed, terms=terms)
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
        answer, _ = await self.onion.ask("HeadObject", {"Bucket": self.bucket, "Key": key}, owed=True)
        if isinstance(answer, Answer):
            self.model.see(key, lambda one: same(one, answer), f"{said(answer)} while it is {state}")
        else:
            self.not_there(key, answer)

    def waits(self, key: str) -> bool:
        """Whether a key waits for another change."""
        return any(one["waits_for"] for one in self.onion.queue.object_status(self.bucket, key)["changes"])

    def judge_order(self) -> None:
        """The writes of a key reach the remote in the order in which they were acknowledged."""
        newest: dict[str, int] = {}
        for operation, key, name, _ in self.onion.journal.passed:
            if operation == "PutObject" and name.isdigit() and name not in self.copied:
                if int(name) < newest.get(key, 0):
                    raise Wrong(f"write {name} of {key!r} was sent after write {newest[key]}")
                newest[key] = int(name)
