"""The faults that s3d is put through, by number: `@pytest.mark.fault(19)` marks a test that makes fault 19 happen.

The numbers have gaps, which belong to parts that are tested elsewhere. tests/e2e/test_catalogue.py holds that no fault
goes without a test.
"""

FAULTS = {
    # The process ends, or the power.
    1: "SIGKILL at random moments under puts, deletes and multipart uploads",
    2: "SIGKILL at each system call of a write",
    3: "power cut right after the answer",
    5: "the same without syncs, which must lose something: the harness's own test",
    7: "torn write of the log and of a body",
    9: "SIGKILL between the link of a body and the commit of its row",
    10: "the remote takes a change, and the process ends before that is recorded",
    11: "SIGKILL in the middle of a multipart push",
    13: "SIGKILL at each step of a checkpoint and of a migration of the tables",
    15: "two daemons on one local dir",
    17: "sixteen large uploads at once in a small memory cgroup",
    56: "SIGKILL at each system call of a fill, a drop, a hand-over and an eviction of the read cache",
    57: "power cut when the first byte of a change has come to the remote, of an object that is cached",
    # The disk fails.
    19: "the disk is full in the middle of a body",
    20: "the disk is full at the start",
    22: "EIO at the sync of a body",
    24: "EIO at the sync of the log",
    25: "the file system becomes read-only",
    26: "no inodes left; no descriptors left",
    28: "a page of the database flipped, its log gone, the database cut short",
    30: "each sync takes two seconds",
    # The network and the remote fail.
    33: "the remote is away for a day",
    34: "reset in a body, latency, low bandwidth, bytes in slices, a black hole",
    35: "503 SlowDown for ten minutes",
    36: "200 with an <Error> body",
    37: "ExpiredToken in the middle of a multipart push",
    39: "the bucket is deleted, and comes back",
    41: "the clock is twenty minutes off",
    42: "a foreign write of a key that is pending",
    44: "one change among a thousand that the remote never takes",
    47: "DNS failure, expired and untrusted certificates, an address that swallows packets",
    49: "SIGTERM with a gigabyte pending, fast remote and slow one",
    50: "more than the limits by bytes, by count and by age",
    53: "ten thousand times put, put, delete, put of one key",
    54: "the clock is set by five minutes, an hour, a day, forward and back, while it runs and over a restart",
    55: "a captive portal, an ingress without backend, a proxy that gives up and whose backend does not",
}
