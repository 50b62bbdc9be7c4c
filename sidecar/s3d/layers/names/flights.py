"""What is on its way: calls that may change names, and questions whose answers are to be remembered. Loop only.

A question is numbered by when it was asked, and a change by when it was answered: a page shows a change for certain
only if that was answered before the page was asked for. A call in between leaves its name unknown.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Question:
    """A listing, or a HEAD of `key`, under way."""

    bucket: str
    key: str | None
    seq: int
    spoiled: bool = False
    """Whether its answer may be older than what is known by now, so that it is not to be remembered."""


@dataclass(slots=True)
class Flight:
    """The calls on their way that may change one name."""

    count: int = 0
    mixed: bool = False
    """Whether there were several at once: nobody knows which of them came last."""
    doubted: bool = False
    """Whether the name was unknown before them."""


class Flights:
    """All of them."""

    def __init__(self, seq: int) -> None:
        """Take the number of the last change that is known."""
        self.seq = seq
        self._flying: dict[str, dict[str, Flight]] = {}
        self._questions: dict[str, set[Question]] = {}
        self._sweeping: dict[str, int] = {}
        """Buckets that calls on their way may change in whole."""

    def next(self) -> int:
        """The number of a change that was answered now."""
        self.seq += 1
        return self.seq

    # Questions.

    def ask(self, bucket: str, key: str | None = None) -> Question:
        """Begin one. It ends with `drop`, when its answer is in the table."""
        question = Question(bucket, key, self.seq)
        question.spoiled = bucket in self._sweeping or (key is not None and key in self._flying.get(bucket, ()))
        self._questions.setdefault(bucket, set()).add(question)
        return question

    def drop(self, question: Question) -> None:
        """End one."""
        asking = self._questions.get(question.bucket)
        if asking is not None:
            asking.discard(question)
            if not asking:
                del self._questions[question.bucket]

    @property
    def floor(self) -> int:
        """The number of the last change that all who ask at the moment know."""
        asked = (question.seq for asking in self._questions.values() for question in asking)
        return min(asked, default=self.seq)

    def is_asked(self, bucket: str) -> bool:
        """Whether an answer about a bucket may yet be remembered."""
        return bucket in self._questions

    def spoil(self, bucket: str, keys: Iterable[str] | None = None) -> None:
        """Have no answer about a bucket remembered that is on its way; with `keys` only those to HEADs of them."""
        named = None if keys is None else set(keys)
        for question in self._questions.get(bucket, ()):
            if named is None or question.key in named:
                question.spoiled = True

    # Changes.

    def begin(self, bucket: str, keys: Iterable[str]) -> None:
        """A call goes out that may change names."""
        keys = tuple(keys)
        self.spoil(bucket, keys)
        flying = self._flying.setdefault(bucket, {})
        for key in keys:
            flight = flying.setdefault(key, Flight())
            flight.mixed |= flight.count > 0
            flight.count += 1

    def doubt(self, bucket: str, key: str) -> None:
        """Note that a name was unknown before its call."""
        self._flying[bucket][key].doubted = True

    def end(self, bucket: str, key: str) -> Flight | None:
        """Such a call is answered; what is known of the flight where it was the last one."""
        flying = self._flying[bucket]
        flight = flying[key]
        flight.count -= 1
        if flight.count:
            return None
        del flying[key]
        if not flying:
            del self._flying[bucket]
        return flight

    def flying(self, bucket: str) -> tuple[str, ...]:
        """The names that calls on their way may change."""
        return tuple(self._flying.get(bucket, ()))

    def flies(self, bucket: str, key: str) -> bool:
        """Whether a call on its way may change a name."""
        return key in self._flying.get(bucket, ())

    def begin_sweep(self, bucket: str) -> None:
        """A call goes out that may change a bucket in whole."""
        self._sweeping[bucket] = self._sweeping.get(bucket, 0) + 1
        self.spoil(bucket)

    def end_sweep(self, bucket: str) -> None:
        """Such a call is answered."""
        self.spoil(bucket)
        self._sweeping[bucket] -= 1
        if not self._sweeping[bucket]:
            del self._sweeping[bucket]
