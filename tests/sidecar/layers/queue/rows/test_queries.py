"""SQL stands in files of named queries, each of which has one owner."""

import importlib
import re
from pathlib import Path

import apsw
import apsw.ext
import pytest

from s3d.layers.queue.rows import claims, queries, schema
from s3d.layers.queue.rows.schema import SCHEMA

ROWS = Path(queries.__file__).parent
OWNERS = sorted(path.stem for path in ROWS.glob("*.sql") if path.stem != "fragments")
STATEMENT = re.compile(r"\b(SELECT .* FROM|INSERT .*INTO|UPDATE \S+ SET|DELETE FROM)\b")
NAMES = [(owner, name) for owner in OWNERS for kind, name, *_ in queries.entries(owner) if kind == "name"]


def test_statements_stand_in_files_of_named_queries() -> None:
    queue = ROWS.parent
    found = {str(path.relative_to(queue)) for path in queue.rglob("*.py") if STATEMENT.search(path.read_text())}
    # A damaged row is written column by column, whichever they are, and looked for in whichever table; `queries` shows
    # what a file looks like.
    assert found == {"rows/damage.py", "rows/queries.py", "rows/schema.py"}


@pytest.mark.parametrize(("owner", "name"), NAMES)
def test_a_query_suits_the_tables_and_is_made_by_its_owner(owner: str, name: str) -> None:
    db = apsw.Connection(":memory:")
    db.execute(SCHEMA.sql)
    module = importlib.import_module(f"s3d.layers.queue.rows.{owner}")
    sql = module.SQL[name]
    apsw.ext.query_info(db, sql)
    assert f'SQL["{name}"]' in Path(str(module.__file__)).read_text()
    db.close()


@pytest.mark.parametrize("owner", [*OWNERS, "fragments"])
def test_a_query_has_a_name_of_its_own_and_a_sentence(owner: str) -> None:
    entries = queries.entries(owner)
    assert len({name for _, name, *_ in entries}) == len(entries)
    assert [name for _, name, sentence, sql in entries if not sentence.endswith(".") or not sql] == []


def test_what_is_slow_is_found_by_an_index() -> None:
    (slow,) = [sql for _, name, _, sql in queries.entries("fragments") if name == "slow"]
    assert str(claims.LARGE_BYTES) in slow
    assert slow in schema.text("changes.sql")
