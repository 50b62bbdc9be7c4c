"""Words for what a person reads, on a terminal and on a page: sizes, spans of time, numbers, states and names."""

CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
# What turns the direction of a text makes a name end elsewhere than it seems to.
CONTROL |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
STATES = {
    "waiting": "waits for its turn or for the remote",
    "pushing": "is being sent to the remote",
    "in_doubt": "was sent; the remote has not answered, so it is sent again",
    "held": "is kept back by a rule",
    "parked": "was refused by the remote for good",
    "superseded": "was refused, and a newer write has taken its place",
    "quarantined": "is damaged on the local dir; it is neither sent nor deleted",
}
"""What a state of a change means. The sentence goes on after *it*."""


def printable(text: str) -> str:
    """A name without control characters: it can neither drive a terminal nor end a line."""
    return text.translate(CONTROL)


def show_size(size: float) -> str:
    """A number of bytes for a person: `12 B`, `4.1 kB`, `1.0 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def show_age(seconds: float) -> str:
    """A span of time for a person: `3 s`, `5 min`, `2 h`, `4 days`."""
    for limit, unit, width in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{max(seconds, 0) / width:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def count(number: int, noun: str) -> str:
    """`1 change`, `2 changes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
