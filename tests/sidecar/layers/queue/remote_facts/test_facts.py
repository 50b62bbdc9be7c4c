"""What answers of the remote teach, and that it is remembered (SEMANTICS Q-14b, Q-18)."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from multidict import CIMultiDict

from s3d.api import Call, Outcome, Reply, Wire
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.remote_facts.write_profiles import SUSPECT, VERIFIED, WriteProfile
from tests.fakes.fake import Fake
from tests.queues import opened

PROFILE = WriteProfile("other", "", "PutObject", "")
MD5 = "d" * 32
SUCCESSES: dict[str, tuple[Mapping[str, str], str, str]] = {
    "as it must be": ({"ETag": f'"{MD5}"'}, "", VERIFIED),
    "no ETag": ({}, "", VERIFIED),
    "a version of none": ({"ETag": f'"{MD5}"', "x-amz-version-id": "null"}, "", VERIFIED),
    "a version": ({"ETag": f'"{MD5}"', "x-amz-version-id": "v"}, "versioned", SUSPECT),
    "another ETag": ({"ETag": '"e"'}, "etag", SUSPECT),
    "a key of KMS": ({"ETag": '"e"', "x-amz-server-side-encryption": "aws:kms"}, "encrypted", SUSPECT),
    "a key of S3": ({"ETag": f'"{MD5}"', "x-amz-server-side-encryption": "AES256"}, "", VERIFIED),
}
"""By what an answer shows: its headers, why writes to the bucket go through after it, and the verdict."""


@pytest.fixture
async def facts(tmp_path: Path) -> AsyncIterator[RemoteFacts]:
    async with opened(tmp_path, Fake()) as queue:
        yield queue._context.facts


def through(facts: RemoteFacts) -> str:
    bucket = facts.buckets.remembered(PROFILE.bucket)
    return "" if bucket is None else bucket.through


@pytest.mark.semantics("Q-14b")
@pytest.mark.parametrize(("headers", "why", "verdict"), SUCCESSES.values(), ids=SUCCESSES)
async def test_a_success_teaches_what_the_next_write_may_do(
    tmp_path: Path, headers: Mapping[str, str], why: str, verdict: str
) -> None:
    async with opened(tmp_path, Fake()) as queue:
        facts = queue._context.facts
        await facts.succeeded(PROFILE, CIMultiDict(headers), MD5)
        assert (through(facts), facts.profiles.verdict(PROFILE)) == (why, verdict)
        assert facts.is_verified(PROFILE) == (verdict == VERIFIED)
    async with opened(tmp_path, Fake()) as queue:
        facts = queue._context.facts
        assert (through(facts), facts.profiles.verdict(PROFILE)) == (why, verdict)


async def test_a_bucket_that_was_changed_is_asked_again(facts: RemoteFacts) -> None:
    await facts.succeeded(PROFILE, CIMultiDict({"x-amz-version-id": "v"}), "")
    await facts.bucket_changed(PROFILE.bucket)
    assert (through(facts), facts.profiles.verdict(PROFILE)) == ("", "")


@pytest.mark.parametrize(
    ("outcome", "status", "etag", "changed", "seen"),
    [
        (Outcome.DONE, 200, "new", True, "new"),
        (Outcome.DONE, 200, None, True, None),
        (Outcome.DONE, 200, None, False, "old"),
        (Outcome.REFUSED, 403, "new", False, "old"),
        (Outcome.UNKNOWN, 500, "new", False, None),
    ],
)
async def test_a_write_that_went_through_teaches_which_object_is_there(
    facts: RemoteFacts, outcome: Outcome, status: int, etag: str | None, changed: bool, seen: str | None
) -> None:
    facts.seen_etags.saw("other", "k", "old")
    call = Call("PutObject", {"Bucket": "other", "Key": "k"}, Wire("PUT", "/other/k", "", CIMultiDict()))
    await facts.sent_through(call, Reply(status, outcome=outcome), etag, changed=changed)
    assert facts.seen_etags.of("other", "k") == seen


@pytest.mark.semantics("Q-18")
async def test_a_condition_that_was_honoured_once_is_known_after_a_start(tmp_path: Path) -> None:
    refused = Reply(412, outcome=Outcome.REFUSED)
    headers = CIMultiDict({"If-None-Match": "*"})
    call = Call("PutObject", {"Bucket": "other", "Key": "k"}, Wire("PUT", "/other/k", "", headers))
    async with opened(tmp_path, Fake()) as queue:
        await queue._context.facts.sent_through(call, refused, None, changed=False)
    async with opened(tmp_path, Fake()) as queue:
        traits = queue._context.facts.traits
        assert (traits.honours("if-none-match"), traits.honours("if-match")) == (True, False)
