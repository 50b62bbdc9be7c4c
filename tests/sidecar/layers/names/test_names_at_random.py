"""Random calls, lost answers, pages that overtake changes, and restarts: what is listed offline is true, or 503.

Nobody else writes here, so what is remembered has no reason to be stale: a page out of memory shows what the remote
has, but for common prefixes whose last object is gone.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3d.errors import S3Error, Unavailable
from tests.callers import Answer, ask
from tests.remembering import BUCKET, Far, Gate, Remembering, remembering, shown

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
EXAMPLES = 1000 if SOAK_HOURS else 20
KEYS = ["a", "b/1", "b/2", "b/c/1", "b/c/2", "c", "d/1", "e"]
key = st.sampled_from(KEYS)
query = st.fixed_dictionaries(
    {"MaxKeys": st.sampled_from([1, 2, 3, 1000])},
    optional={
        "Prefix": st.sampled_from(["b/", "b", "d/", "x"]),
        "Delimiter": st.just("/"),
        "StartAfter": st.sampled_from(["b/1", "c", "b/"]),
    },
)
change = st.tuples(st.sampled_from(["PutObject", "DeleteObject", "CopyObject"]), key)
action = st.one_of(
    st.tuples(st.just("change"), change),
    st.tuples(st.just("lost"), change),
    st.tuples(st.just("list"), query),
    st.tuples(st.just("walk"), query),
    st.tuples(st.just("overtaken"), query, change),
    st.tuples(st.just("between"), query, change),
    st.tuples(st.just("mend")),
    st.tuples(st.just("restart")),
)


async def do(one: Remembering, operation: str, name: str) -> None:
    """Change an object; what comes of it does not matter."""
    data = b"x" * (len(one.far.asked) % 7) if operation == "PutObject" else None
    more = {"CopySource": f"{BUCKET}/e"} if operation == "CopyObject" else {}
    try:
        await one.ask(operation, name, data, **more)
    except S3Error:
        return


async def act(one: Remembering, what: tuple[Any, ...]) -> None:
    """Do one thing."""
    far = one.far
    match what:
        case "change", (operation, name):
            await do(one, operation, name)
        case "lost", (operation, name):
            far.lose = lambda call: call.operation == operation
            await do(one, operation, name)
            far.lose = lambda _: False
        case "list", asked:
            await one.page(**asked)
        case "walk", asked:
            await one.walk(**asked)
        case "overtaken", asked, (operation, name):
            gate = far.gates["ListObjectsV2"] = Gate()
            listing = asyncio.create_task(one.page(**asked))
            await gate.reached.wait()
            await do(one, operation, name)
            gate.opened.set()
            await listing
        case "between", asked, (operation, name):
            gate = far.gates[operation] = Gate()
            changing = asyncio.create_task(do(one, operation, name))
            await asyncio.wait(
                [changing, reached := asyncio.create_task(gate.reached.wait())], return_when="FIRST_COMPLETED"
            )
            await one.page(**asked)
            gate.opened.set()
            await changing
            reached.cancel()
        case ("mend",):
            await one.names.mend()
    far.gates.clear()


async def agrees(one: Remembering, asked: dict[str, Any]) -> bool:
    """Whether a page out of memory shows what the remote has; True too where there is none."""
    one.far.away = True
    try:
        page = await one.ask("ListObjectsV2", **asked)
    except Unavailable:
        return True
    finally:
        one.far.away = False
    truth = await ask(one.far.fake, "ListObjectsV2", {"Bucket": BUCKET, **asked, "MaxKeys": 1000})
    left = [name for name in shown(page) if not name.endswith("/") or name in shown(truth)]
    more = bool(page.result["IsTruncated"])
    whole = shown(truth)
    if more:
        whole = [name for name in whole if not shown(page) or name <= shown(page)[-1]]
        whole = [name for name in whole if name in left or not name.endswith("/")]
    same = left == whole
    return same and described(page) == {name: size for name, size in described(truth).items() if name in left}


def described(page: Answer) -> dict[str, tuple[str, int]]:
    """ETags and sizes."""
    return {one["Key"]: (one["ETag"], one["Size"]) for one in page.result.get("Contents", ())}


@pytest.mark.timeout(120 + SOAK_HOURS * 3600)
@pytest.mark.semantics("C-10b")
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(action, max_size=14), st.lists(query, min_size=1, max_size=4))
def test_what_is_listed_offline_is_true(actions: list[tuple[Any, ...]], queries: list[dict[str, Any]]) -> None:
    """After each step, for any page."""

    async def run(directory: Path) -> None:
        far = Far()
        rest = list(actions)
        while True:
            async with remembering(directory, far) as one:
                while rest and rest[0] != ("restart",):
                    await act(one, rest.pop(0))
                    assert all([await agrees(one, asked) for asked in queries])
                for asked in queries:
                    assert await agrees(one, asked)
            if not rest:
                return
            rest.pop(0)

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))
