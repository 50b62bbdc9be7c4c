"""Steps that read."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from s3d.errors import S3Error
from tests.callers import Answer
from tests.machine.answers import asked, away, said, same
from tests.machine.client import Client
from tests.machine.world import keys
from tests.model import Wrong, md5


class Reads(Client):
    """What is read."""

    @rule(key=keys)
    def get(self, key: str) -> None:
        self.get_by(key, None)

    def get_by(self, key: str, identity: str | None) -> None:
        """Get an object, as one identity where it is said which."""
        answer = self.read("GetObject", key, identity=identity)
        if isinstance(answer, Answer):
            self.model.see(
                key,
                lambda one: same(one, answer) and one is not None and one.data == answer.data,
                said(answer),
                asked=asked(answer),
            )

    @rule(key=keys)
    def head(self, key: str) -> None:
        answer = self.read("HeadObject", key)
        if isinstance(answer, Answer):
            size = answer.result["ContentLength"]
            self.model.see(
                key,
                lambda one: same(one, answer) and one is not None and len(one.data) == size,
                said(answer),
                asked=asked(answer),
            )

    @rule(key=keys, first=st.integers(0, 3), size=st.integers(1, 20_000))
    def get_range(self, key: str, first: int, size: int) -> None:
        answer = self.read("GetObject", key, Range=f"bytes={first}-{first + size - 1}")
        if isinstance(answer, Answer):
            part = slice(first, first + size)
            self.model.see(
                key,
                lambda one: same(one, answer) and one is not None and one.data[part] == answer.data,
                said(answer),
                asked=asked(answer),
            )

    @rule(key=keys, none=st.booleans())
    def get_on_condition(self, key: str, none: bool) -> None:
        known = next(iter(self.model.states(key)))
        tag = f'"{known.etag if known else md5(b"")}"'
        answer = self.read("GetObject", key, **{"IfNoneMatch" if none else "IfMatch": tag})
        if isinstance(answer, Answer):
            matches = f'"{answer.etag}"' == tag
            self.model.see(key, lambda one: same(one, answer) and matches != none, said(answer), asked=asked(answer))

    def read(self, operation: str, key: str, **params: Any) -> Answer | None:
        """Ask for a read of a key; None where it is answered by a status, which is judged."""
        answer = self.client(operation, key, **params)
        if isinstance(answer, Answer):
            if self.of_another(key) and self.model.writers[key] is not None:
                raise Wrong(f"{operation} shows {key!r}, which another identity has written and the remote has not")
            self.judge_source(operation, key, answer)
            return answer
        self.judge_source(operation, key, answer)
        # What a condition says of may be out of a cache, which does not tell.
        told = not self.model.past.get(key)
        # The answer to a HEAD has no document that tells whose 404 it is; none but the store's is handed on.
        if away(answer) and not (operation == "HeadObject" and answer.status == 404):
            if self.pending(key) and self.model.writers.get(key) == self.who:
                raise Wrong(f"{operation} of {key!r}, which is pending, is refused: {answer}")
            return None
        match answer.status:
            case 404:
                self.not_there(key, answer)
            case 304:
                self.model.see(
                    key, lambda one: one is not None and params["IfNoneMatch"] == f'"{one.etag}"', answer, asked=told
                )
            case 412:
                self.model.see(
                    key, lambda one: one is not None and params["IfMatch"] != f'"{one.etag}"', answer, asked=told
                )
            case 416:
                first = int(params["Range"].removeprefix("bytes=").partition("-")[0])
                self.model.see(key, lambda one: one is not None and len(one.data) <= first, answer, asked=told)
            case _:
                raise Wrong(f"{operation} of {key!r} fails with {answer}")
        return None

    def judge_source(self, operation: str, key: str, answer: Answer | S3Error) -> None:
        """A read was answered; where there is a cache it is judged whether it had the right to."""

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
