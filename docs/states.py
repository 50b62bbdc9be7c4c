"""Writes docs/ARCHITECTURE.md to standard output with the moves of s3d.layers.queue.rows.states in it.

`make generate` runs it.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from s3d.layers.queue.rows.states import CHANGES, CONTENT, UPLOADS, Move, Op

DOCUMENT = Path(__file__).with_name("ARCHITECTURE.md")
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHOWN = {(*CONTENT, Op.TAG): "", CONTENT: "no change of tags", (Op.THROUGH,): "turns"}


def table(moves: Iterable[Move], *, kinds: bool) -> Iterator[str]:
    """The lines of a table in Markdown."""
    yield "| from | to | when |" + (" of which |" if kinds else "")
    yield "|---|---|---|" + ("---|" if kinds else "")
    for move in moves:
        before = ", ".join(f"`{state}`" if state else "(new)" for state in move.before)
        row = [before, f"`{move.after}`" if move.after else "(gone)", move.when, *([SHOWN[move.ops]] if kinds else [])]
        yield "| " + " | ".join(row) + " |"


TABLES = {"changes": list(table(CHANGES, kinds=True)), "uploads": list(table(UPLOADS, kinds=False))}


def filled(block: re.Match[str]) -> str:
    """A block of the document with its table."""
    return "".join([block[1], *(f"{line}\n" for line in TABLES[block[2]]), block[3]])


if __name__ == "__main__":
    sys.stdout.write(BLOCK.sub(filled, DOCUMENT.read_text(encoding="utf-8")))
