"""What a gateway owes its clients, in a dictionary: the reference that the state machine holds the onion to.

Of each key it knows the states that a read may show: one, as a rule; several only after a write whose outcome nobody
was told. An acknowledged write leaves one. What a read shows that is none of them is a `Wrong`.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace


class Wrong(AssertionError):
    """The onion did what it must not do."""


@dataclass(frozen=True, slots=True)
class Thing:
    """An object as reads show it."""

    data: bytes = field(repr=False)
    etag: str
    number: str = ""
    """Its metadata `n`: which write made it."""
    kind: str = "binary/octet-stream"
    tags: tuple[tuple[str, str], ...] = ()


State = Thing | None


@dataclass(slots=True)
class Upload:
    """An open upload in parts."""

    key: str
    id: str
    number: str
    who: str = ""
    """The identity that has begun it."""
    staged: bool = True
    """Whether its parts are kept here; what was begun at the remote is the remote's in all."""
    parts: dict[int, bytes] = field(default_factory=dict)
    doubtful: set[int] = field(default_factory=set)
    """Numbers of parts whose outcome nobody was told."""


@dataclass(slots=True)
class Model:
    """Everything that was acknowledged."""

    may: dict[str, frozenset[State]] = field(default_factory=dict)
    """By key what a read may show."""
    times: dict[str, int] = field(default_factory=dict)
    """By key how often that changed."""
    uploads: list[Upload] = field(default_factory=list)
    asking: str = ""
    """The identity that asks now."""
    past: dict[str, frozenset[State]] = field(default_factory=dict)
    """By key what somebody else has replaced: a cache that does not ask may still show it."""
    writers: dict[str, str | None] = field(default_factory=dict)
    """By key who made the newest acknowledged change; None where nobody can say."""

    def states(self, key: str) -> frozenset[State]:
        """What a read of a key may show."""
        return self.may.get(key, frozenset([None]))

    def put(self, key: str, *states: State) -> None:
        """A write was acknowledged: this is what is there, or one of these."""
        self.may[key] = frozenset(states)
        self.writers[key] = self.asking
        self.times[key] = self.times.get(key, 0) + 1

    def doubt(self, key: str, *states: State) -> None:
        """Nobody was told whether a write happened."""
        self.put(key, *self.states(key), *states)
        self.writers[key] = None

    def change(self, key: str, how: Callable[[Thing], Thing]) -> None:
        """A change of what is there was acknowledged."""
        self.put(key, *(how(state) for state in self.states(key) if state is not None))

    def overwrite(self, key: str, state: State) -> None:
        """Somebody else has written a key."""
        self.past[key] = self.past.get(key, frozenset()) | self.states(key)
        self.put(key, state)

    def see(self, key: str, matches: Callable[[State], bool], what: object, *, asked: bool = True) -> None:
        """A read showed something: it must be allowed, and nothing else is from now on. What was shown without asking
        may be what somebody else has replaced, and says nothing of what is there."""
        allowed = self.states(key) if asked else self.states(key) | self.past.get(key, frozenset())
        fitting = frozenset(state for state in allowed if matches(state))
        if not fitting:
            raise Wrong(f"{key!r} shows {what}, not one of {sorted(map(shown, allowed))}")
        if asked:
            self.may[key] = fitting


def shown(state: State) -> str:
    """A state in a few words."""
    if state is None:
        return "nothing"
    return f"n={state.number} etag={state.etag[:8]} {len(state.data)} bytes {state.kind} {dict(state.tags)}"


def thing(
    data: bytes, number: str = "", kind: str = "binary/octet-stream", tags: Iterable[tuple[str, str]] = ()
) -> Thing:
    """An object of a single put."""
    return Thing(data, md5(data), number, kind, tuple(sorted(tags)))


def assembled(upload: Upload, numbers: Iterable[int]) -> Thing:
    """The object that parts become."""
    parts = [upload.parts[number] for number in sorted(numbers)]
    digest = hashlib.md5(b"".join(bytes.fromhex(md5(part)) for part in parts), usedforsecurity=False).hexdigest()
    return Thing(b"".join(parts), f"{digest}-{len(parts)}", upload.number)


def copied(source: Thing) -> Thing:
    """What a copy makes of an object: a single one."""
    return replace(source, etag=md5(source.data))


def md5(data: bytes) -> str:
    """The MD5 in hex."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
