"""Steps that are no client's: what the world does to a gateway."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.callers import ask
from tests.machine.terms import Termed
from tests.machine.world import CONTENTS, FATES, IDENTITIES, NAMES, a_write, bodies, keys, some_writes, usually
from tests.model import thing


class Faults(Termed):
    """What the world does."""

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

    @rule(who=st.sampled_from(IDENTITIES))
    def revoke(self, who: str) -> None:
        """The remote refuses the keys of one identity: what it has pending waits, and holds up nobody else."""
        if self.chance is None:
            return
        self.revoke_keys(who)
        self.onion.run(self.onion.breathe())

    @rule()
    def restore(self) -> None:
        """It takes all keys again."""
        self.onion.flaky.revoked = frozenset()
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
        self.let_go()
        self.onion.flaky.fate_of[key] = fate
        self.write_each(key, [first])
        self.onion.run(self.onion.quiet(self.bucket, key))
        self.write_each(key, newer)
        self.drain()

    @rule(key=keys, body=bodies, gone=st.booleans())
    def foreign(self, key: str, body: str, gone: bool) -> None:
        """Somebody writes past the gateway. What is pending is pushed over it; the last push wins (Q-18)."""
        data = CONTENTS[body]
        further = NAMES[NAMES.index(key) :] + NAMES[: NAMES.index(key)]
        free = [one for one in further if not self.pending(one) and one not in self.onion.flaky.holds]
        free = [one for one in free if not self.onion.expects_anything(one)]
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
        self.model.overwrite(key, None if gone else thing(data, number))
