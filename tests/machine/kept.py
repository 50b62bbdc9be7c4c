"""Steps of what is kept back, and of what a person does with it."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from s3d.errors import S3Error
from tests.callers import Answer, ask
from tests.fakes.flaky import REFUSED
from tests.machine.world import CONTENTS, HOLD, NAMES, RULES, bodies, few, fresh, keys, rarely, some_writes
from tests.machine.writes import Writes
from tests.model import State, Thing, Wrong
from tests.onion import KEPT


class Kept(Writes):
    """What is kept back."""

    def deliver(self, key: str) -> None:
        """End every trouble, and let what is on its way of a key be delivered."""
        self.onion.flaky.come_back()
        self.onion.flaky.release()
        self.onion.flaky.fates.clear()
        self.onion.flaky.revoked = frozenset()
        self.onion.run(self.onion.quiet(self.bucket, key))

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
        if not self.world.tags or self.onion.flaky.away or self.onion.flaky.revoked:
            return
        self.step("tags of the bucket")
        tags = {"TagSet": [{"Key": name, "Value": value} for name, value in HOLD]}
        answer = self.client("PutBucketTagging", Tagging=tags) if held else self.client("DeleteBucketTagging")
        if not isinstance(answer, Answer):
            raise Wrong(f"the tags of a bucket cannot be changed: {answer}")
        self.tags_hold = held
        self.excused |= {*NAMES}

    def let_go(self) -> None:
        """Nothing holds anything any more."""
        if self.tags_hold:
            self.tag_bucket(False)
        if self.rules_hold:
            self.reload("nothing")

    @rule(rules=st.sampled_from([*RULES]))
    def reload(self, rules: str) -> None:
        """Other rules are in force: a push filter that holds everything, or a policy and what it answers."""
        self.step("reload")
        push_filter, policy = RULES[rules]
        self.rules_hold = bool(push_filter) or policy in ("deny", "none")
        if not self.rules_hold:
            self.stays.clear()
        self.excused |= {*NAMES}
        self.onion.govern(push_filter, policy)
        self.onion.run(self.onion.breathe())

    @rule(key=keys, first=fresh, second=some_writes, held=rarely)
    def overtake(self, key: str, first: str, second: list[str], held: bool) -> None:
        """A request stands in line between two changes of its key, as the first one is refused for good, or held."""
        flaky = self.onion.flaky
        self.step("overtaking")
        self.deliver(key)
        flaky.stalled = True
        self.put_bytes(key, CONTENTS[first], "")
        self.onion.run(self.onion.breathe())
        between = self.onion.begin("PutObjectAcl", {"Bucket": self.bucket, "Key": key, "ACL": "private"}, self.who)
        self.onion.run(self.onion.breathe())
        self.write_each(key, second)
        before = self.tags_hold
        if held:
            self.tag_bucket(True)
        flaky.release("RequestTimeout 400" if held else REFUSED)
        self.onion.run(self.onion.end_of(between))
        self.get(key)
        self.the_newest_change_is_the_truth()
        if self.tags_hold and not before:
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
        self.parked_by_discard |= {one for one in NAMES if self.waits(one)}
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
        self.onion.flaky.revoked = frozenset()
        self.let_go()
        self.onion.flaky.fate_of.pop(key, None)
        self.excused.add(key)
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
