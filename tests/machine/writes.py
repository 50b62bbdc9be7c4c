"""Steps that write."""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.stateful import rule

from s3d.errors import S3Error
from tests.callers import Answer
from tests.machine.answers import holds
from tests.machine.reads import Reads
from tests.machine.world import CONTENTS, FIRST_PART, HOLD, IDENTITIES, NAMES, bodies, keys, rarely, some_writes, tags
from tests.model import State, Wrong, copied, md5, thing


class Writes(Reads):
    """What is written."""

    @rule(key=keys, body=bodies, kind=st.sampled_from(["", "text/x-a"]))
    def put(self, key: str, body: str, kind: str) -> None:
        self.put_bytes(key, CONTENTS[body], kind)

    def put_bytes(self, key: str, data: bytes, kind: str, identity: str | None = None) -> None:
        """Put an object."""
        number = self.number()
        params: dict[str, Any] = {"Metadata": {"n": number}, **({"ContentType": kind} if kind else {})}
        answer = self.client("PutObject", key, data, identity=identity, **params)
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

    @rule(key=keys, some=st.lists(bodies, min_size=2, max_size=3), revoked=rarely)
    def write_in_turn(self, key: str, some: list[str], revoked: bool) -> None:
        """Two identities write a key while nothing of it is delivered: the remote gets what each of them wrote, but for
        whom it refuses."""
        if self.chance is None:
            return
        self.onion.flaky.stalled = True
        who = self.chance.sample(IDENTITIES, 2)
        if revoked:
            self.revoke_keys(who[0])
        self.put_bytes(key, CONTENTS["same"], "", who[1])
        for number, body in enumerate(some):
            self.put_bytes(key, CONTENTS[body], "", who[number % 2])
        for one in who:
            self.get_by(key, one)

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
        self.excuse(key, tags)
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
        self.excuse(key, tags)
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

    def excuse(self, key: str, tags: tuple[tuple[str, str], ...]) -> None:
        """Note that tags may hold what is written to a key."""
        if tags == HOLD:
            self.excused.add(key)

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
