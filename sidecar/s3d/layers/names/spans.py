"""Stretches of names that are known whole. Pure.

A span has all names from `low` on, up to and without `high`. Those of a view do not overlap: where a newer one is put,
what older ones knew of the same names goes.
"""

from typing import NamedTuple


class Span(NamedTuple):
    """A stretch of names."""

    low: str
    high: str | None
    """None: up to the last name of all."""

    def holds(self, name: str) -> bool:
        """Whether a name lies in it."""
        return self.low <= name and (self.high is None or name < self.high)


def meet(one: Span, other: Span) -> bool:
    """Whether two spans have names in common."""
    return (one.high is None or other.low < one.high) and (other.high is None or one.low < other.high)


def cut(old: Span, new: Span) -> list[Span]:
    """What is left of an older span beside a newer one."""
    if not meet(old, new):
        return [old]
    left = [Span(old.low, new.low)] if old.low < new.low else []
    if new.high is not None and (old.high is None or new.high < old.high):
        left.append(Span(new.high, old.high))
    return left
