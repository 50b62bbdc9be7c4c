"""A look-up of the gateway's own that gets an odd answer: nothing is learnt from it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from s3d.errors import S3Error
from tests.callers import Answer
from tests.fakes.contents import Bucket
from tests.gateways import gateway
from tests.sidecar.layers.queue.push.odd_answers import ANSWERS, IN_TIME, S3_ERRORS, all_of
from tests.stores import Store

pytestmark = pytest.mark.usefixtures("quick")

LOOK_UPS = {
    "HeadBucket": Bucket("", 0.0, versioning="Enabled"),
    "GetBucketVersioning": Bucket("", 0.0, versioning="Enabled"),
    "GetBucketEncryption": Bucket(
        "",
        0.0,
        encryption={"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]},
    ),
    "GetObjectLockConfiguration": Bucket("", 0.0, versioning="Enabled"),
    "GetBucketTagging": Bucket("", 0.0, tags=(("s3d.upload", "false"),)),
}
"""What is asked, and a bucket to whose writes the true answer matters."""
NOT_CONFIGURED = frozenset(
    ["200 root without members", *(name for name in S3_ERRORS if name.startswith(("400", "403", "404", "405", "501")))]
)
SAYS_NOTHING = {operation: NOT_CONFIGURED for operation in LOOK_UPS if operation != "HeadBucket"} | {
    "HeadBucket": frozenset(["200 empty", *(name for name in ANSWERS if name.startswith(("403", "404")))])
}
"""What the store itself says where nothing is configured, or where it has no such notion."""


@pytest.mark.semantics("R-6", "Q-14", "Q-22")
@pytest.mark.parametrize("operation", LOOK_UPS)
async def test_a_look_up_learns_nothing_from_an_odd_answer(operation: str, tmp_path: Path) -> None:
    names = [name for name in ANSWERS if name not in SAYS_NOTHING[operation]]
    buckets = {name: f"bucket-{number}" for number, name in enumerate(names)}
    like = LOOK_UPS[operation]
    async with Store() as store, gateway(tmp_path, store) as here:
        for bucket in buckets.values():
            store.fake.buckets[bucket] = replace(like, name=bucket, keys={}, uploads={})

        async def wrong(name: str) -> str:
            """What is wrong in what became of two puts, one while the answer is odd and one afterwards."""
            bucket = buckets[name]
            hook = store.hook(ANSWERS[name], operation, bucket=bucket)
            answers = [await here.ask("PutObject", {"Bucket": bucket, "Key": "k"}, b"1")]
            if not hook.hits:
                return "it was not asked"
            hook.times = 0
            answers.append(await here.ask("PutObject", {"Bucket": bucket, "Key": "l"}, b"2"))
            if isinstance(answers[1], S3Error) and operation != "GetBucketTagging":
                return f"it is not asked again: {answers[1]}"
            told = {answer.headers.get("x-s3d-durability") for answer in answers if isinstance(answer, Answer)}
            wanted = "local" if operation == "GetBucketTagging" else "remote"
            return "" if told <= {wanted} else f"told {told}, not {wanted}"

        some = asyncio.Semaphore(16)

        async def judged(name: str) -> str:
            async with some:
                try:
                    return await wrong(name)
                except Exception as error:  # noqa: BLE001 (whatever it is, the seam says that it is not raised)
                    return f"raises {error!r}"

        found = dict(zip(names, await asyncio.gather(*map(judged, names)), strict=True))
        if operation == "GetBucketTagging":
            here.queue.pusher.wake()
            keys = [(name, bucket, key) for name, bucket in buckets.items() for key in ("k", "l")]
            await all_of(
                *(lambda one=one: here.state(*one[1:]) in ("held", "delivered") for one in keys), seconds=IN_TIME
            )
            sent = {name for name, bucket, key in keys if store.data(bucket, key) is not None}
            found |= dict.fromkeys(sent, "sent, though the bucket's tags hold it")
    wrong_ones = {name: what for name, what in found.items() if what}
    assert wrong_ones == {}, "\n".join(f"{name}: {what}" for name, what in wrong_ones.items())
