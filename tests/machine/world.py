"""What a run of the machine is given, and what its steps are made of."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from s3d.api import S3
from tests.crashes import Disk

STEPS = 25
"""Steps of one run of the machine, from an empty gateway."""
NAMES = ("a-", "a/b", "a/c/d", "b", "b\u00e9 +", "c")
CONTENTS = {
    "empty": b"",
    "short": b"x",
    "same": b"same bytes",
    "file": bytes(range(256)) * 80,
    "other file": b"y" * 17_000,
}
"""Bodies: some small enough for a row, some in files. A few only, so that ETags repeat where metadata do not."""
FIRST_PART = bytes(5 << 20)
PARTS = {"end": b"the end", "other end": b"another", "5 MiB": FIRST_PART}
FATES = (
    *("unanswered", "lost", "lost", "SlowDown 503", "InternalError 500", "RequestTimeout 400"),
    *("portal", "ingress", "gateway", "gateway", "late", "late"),
)
COUNTED = (
    *"PutObject DeleteObject DeleteObjects CopyObject PutObjectTagging DeleteObjectTagging".split(),
    *"CreateMultipartUpload UploadPart UploadPartCopy CompleteMultipartUpload AbortMultipartUpload".split(),
    *"GetObject HeadObject GetObjectAttributes GetObjectTagging".split(),
    *"ListObjects ListObjectsV2 ListMultipartUploads ListParts ListObjectVersions".split(),
    *("outage", "stall", "trouble", "crash", "foreign write", "rot", "drain"),
    *("refusal", "tags of the bucket", "overtaking", "late arrival", "retry", "discard"),
    *("move", "expectation", "conflict", "reload"),
)
"""What must have been answered, or done, often."""
MEMORY = Path("/dev/shm")
"""Where local dirs are made: what a crash leaves of them is judged here, not by a disk."""
CACHED = ("revalidated", "stale", "miss", "overwritten", "overtaken fill", "gone and crashed")
"""What must have come of reads, or been done, where there is a read cache."""
OWED = frozenset(
    "PutObject DeleteObject DeleteObjects GetObject HeadObject PutBucketTagging DeleteBucketTagging".split()
)
"""What is answered also while the remote says nothing."""

IDENTITIES = ("", "b")
"""The gateway's own, and one that a file names."""

keys = st.sampled_from(NAMES)
bodies = st.sampled_from([*CONTENTS])
fresh = st.sampled_from(["short", "file", "other file"])
HOLD = (("s3d.upload", "false"),)
"""Tags by which an object is held."""
RULES = {"nothing": ("", ""), "allow": ("", "allow"), "filter": ("!*", ""), "deny": ("", "deny"), "none": ("", "none")}
"""Rules of what may leave: a push filter, and what a policy answers."""
tags = st.sampled_from([(), (("t", "1"),), (("t", "2"), ("u", "x y")), HOLD])
a_write = st.sampled_from(["", "", "short", "file"])
some_writes = st.lists(a_write, min_size=1, max_size=3)
few = st.integers(0, 7)
rarely = st.sampled_from([True, False, False])
usually = st.sampled_from([True, True, False])


@dataclass(slots=True)
class Paging:
    """A listing that a client goes through page by page, while the world goes on."""

    operation: str
    params: dict[str, Any]
    who: str | None = None
    """The identity that lists; None before the first page."""
    names: list[str] = field(default_factory=list)
    etags: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    """How often each key had been changed when it began."""


@dataclass(slots=True)
class World:
    """What a run of the machine is given: a remote, and where it counts."""

    remote: Callable[[], S3]
    loop: asyncio.AbstractEventLoop
    disk: Disk
    versions: bool = True
    """Whether the bucket keeps versions in every third run."""
    tags: bool = True
    """Whether tags of the bucket hold what is written to it."""
    shared: bool | None = None
    """Whether two identities take turns; None: in every other run."""
    cache: bool = False
    """Whether there is a read cache between the queue and the remote."""
    told: set[str] = field(default_factory=set)
    """Problems that were told of."""
    runs: int = 0
    steps: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    """Operations that got an answer which is not 503, and what was done to the gateway."""
    trace: list[str] = field(default_factory=list)
    """The steps of this run."""
    failure: Exception | None = None
    """What the machine found."""
