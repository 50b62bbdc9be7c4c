"""Reads files of named queries. `changes.sql` belongs to `changes.py` beside it, and to nobody else.

    -- name: forget
    -- A sentence that says what it does.
    DELETE FROM bucket WHERE name = ?

    -- fragment: due
    -- A condition that several queries have, written `{due}` in them.
    state = 'waiting' AND op <> 'through' AND judged = 1

What several owners need stands in `fragments.sql`. The lists of columns come from whoever reads the rows, and those of
states from `states`, so that no list is written twice. A query is whole when it is loaded: nobody adds
to it later.
"""

import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

from s3d.layers.queue.rows.states import CLAIMED, FOR_A_PERSON, KEPT_BACK, ON_THE_WAY, OPEN, literals

ENTRY = re.compile(r"^-- (name|fragment): (\w+)\n((?:-- .*\n)*)((?:(?!-- ).*\n?)*)", re.MULTILINE)
PLACE = re.compile(r"\{(\w+)\}")
STATES: Final = {
    "on_the_way": literals(ON_THE_WAY),
    "claimed": literals(CLAIMED),
    "kept_back": literals(KEPT_BACK),
    "for_a_person": literals(FOR_A_PERSON),
    "open": literals(OPEN),
}


def entries(owner: str) -> list[tuple[str, str, str, str]]:
    """What stands in a file: name or fragment, which, its sentence, its text."""
    text = resources.files(__package__).joinpath(f"{owner}.sql").read_text(encoding="utf-8")
    found = ENTRY.findall(text)
    return [(kind, name, sentence.replace("-- ", "").strip(), sql.strip()) for kind, name, sentence, sql in found]


def load(owner: str, **columns: str) -> Mapping[str, str]:
    """The queries of a module by their names; `columns` are the lists of columns that they select."""
    known = STATES | columns
    queries: dict[str, str] = {}
    for kind, name, _, sql in [*entries("fragments"), *entries(owner)]:
        whole = PLACE.sub(lambda place: known[place[1]], sql)
        (queries if kind == "name" else known)[name] = whole
    return queries
