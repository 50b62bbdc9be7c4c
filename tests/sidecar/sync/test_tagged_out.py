"""A tag that leaves an object out of a folder: on both sides, whatever might be done, and until it is gone."""

from pathlib import Path

import pytest

from s3d.errors import S3Error
from s3d.sync import tags
from s3d.sync.planning import TAGGED_OUT
from tests.callers import ask
from tests.queues import BUCKET
from tests.sidecar.sync.folders import PREFIX, World, synced


async def tag(world: World, path: str, said: str) -> None:
    """Tag an object, as somebody else does."""
    params = {"Bucket": BUCKET, "Key": PREFIX + path, "Tagging": {"TagSet": [{"Key": "s3d.sync", "Value": said}]}}
    await ask(world.store.s3, "PutObjectTagging", params)


@pytest.mark.semantics("S-4b")
async def test_a_tagged_object_is_neither_fetched_nor_replaced_nor_deleted(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("edited", b"base")
        world.write("deleted", b"base")
        world.write("other", b"base")
        await world.settle()
        await world.foreign.put("new", b"only there")
        for path in ("edited", "deleted", "new"):
            await tag(world, path, "false")
        world.write("edited", b"mine")
        (world.path / "deleted").unlink()
        world.write("other", b"mine")
        await world.settle()
        assert world.here() == {"edited": b"mine", "other": b"mine"}
        assert await world.foreign.there() == {
            "edited": b"base",
            "deleted": b"base",
            "new": b"only there",
            "other": b"mine",
        }
        left = {one["path"]: one["reason"] for one in world.folder.left_alone()}
        assert left == dict.fromkeys(("edited", "deleted", "new"), TAGGED_OUT)
        # Nor while nobody can be asked.
        world.store.away = True
        world.write("edited", b"mine again")
        await world.rounds()
        assert world.queue.pending()["changes"] == 0


@pytest.mark.semantics("S-4b")
@pytest.mark.parametrize("said", ["true", "", "no"])
async def test_another_value_leaves_nothing_out(tmp_path: Path, said: str) -> None:
    async with synced(tmp_path) as world:
        await world.foreign.put("a", b"there")
        await tag(world, "a", said)
        await world.settle()
        assert world.here() == {"a": b"there"}


@pytest.mark.semantics("S-4b")
@pytest.mark.parametrize("is_said", [False, True], ids=["in time", "when it is said"])
async def test_a_tag_that_is_taken_away_is_found_by_asking_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_said: bool
) -> None:
    monkeypatch.setattr(tags, "MAX_ASKED", 2)
    async with synced(tmp_path) as world:
        for name in "abc":
            await world.foreign.put(name, name.encode())
            await tag(world, name, "false")
        await world.settle()
        await tag(world, "c", "true")
        await world.settle()
        assert world.here() == {}
        if is_said:
            world.folder.tags.again()
        else:
            monkeypatch.setattr(tags, "INTERVAL", 0.0)
        await world.rounds()
        await world.settle()
        assert world.here() == {"c": b"c"}


@pytest.mark.semantics("S-4b")
async def test_another_version_is_judged_by_its_own_tags(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        await world.foreign.put("a", b"one")
        await tag(world, "a", "false")
        await world.settle()
        await world.foreign.put("a", b"two")
        await world.settle()
        assert world.here() == {"a": b"two"}


@pytest.mark.semantics("S-4b")
async def test_a_remote_that_tells_no_tags_is_synced_as_if_there_were_none(tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        world.write("a", b"base")
        world.write("b", b"base")
        await world.settle()
        world.store.refuses_tags = S3Error("AccessDenied", "no tags for you", status=403)
        world.write("a", b"mine")
        (world.path / "b").unlink()
        await world.settle()
        assert await world.foreign.there() == {"a": b"mine"}
