"""An application as there are many: stock boto3, no endpoint, no idea of s3d.

`app.py BUCKET SIZE...` writes an object of each size, reads each back at once and says so in a line of JSON; then it
works on until SIGTERM, writes its last words and ends. `--once` ends after the writes, `--read` reads what an earlier
run wrote. Whatever it finds to be wrong ends it with a traceback.
"""

import argparse
import hashlib
import json
import random
import signal
from typing import Any

import boto3

CONTENT_TYPE = "image/x-test"


def say(event: str, **more: Any) -> None:
    """Write one line of JSON."""
    print(json.dumps({"event": event, **more}), flush=True)


def bytes_of(key: str, size: int) -> bytes:
    """The bytes of an object, always the same."""
    return random.Random(key).randbytes(size)


def write(client: Any, bucket: str, key: str, size: int) -> None:
    """Write an object."""
    body = bytes_of(key, size)
    put = client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=CONTENT_TYPE, Metadata={"writer": key})
    read(client, bucket, key, size, put["ETag"])
    say("wrote", key=key, size=size, etag=put["ETag"], sha256=hashlib.sha256(body).hexdigest())


def read(client: Any, bucket: str, key: str, size: int, etag: str = "") -> None:
    """Read an object; it must be what was written."""
    got = client.get_object(Bucket=bucket, Key=key)
    seen = got["ContentType"], got["Metadata"]
    if got["Body"].read() != bytes_of(key, size) or (etag and got["ETag"] != etag):
        raise AssertionError(f"{key}: {size} bytes were written, something else is read")
    if seen != (CONTENT_TYPE, {"writer": key}):
        raise AssertionError(f"{key}: it has {seen}")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bucket")
    parser.add_argument("sizes", type=int, nargs="*")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--read", action="store_true")
    given = parser.parse_args()
    # Blocked, a signal waits until it is asked for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    client = boto3.client("s3")
    for number, size in enumerate(given.sizes):
        (read if given.read else write)(client, given.bucket, f"{number:03}", size)
    say("done")
    if given.once or given.read:
        return
    signal.sigwait({signal.SIGTERM})
    say("SIGTERM")
    write(client, given.bucket, "last-words", 11)
    say("end")


if __name__ == "__main__":
    main()
