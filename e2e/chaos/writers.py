"""Clients that put, upload in parts and delete all the time, and survive their gateway.

Each draws from its own generator, so that a seed names a run. They speak plain HTTP without signatures: what is under
test is the daemon, and a stock SDK would take most of the machine.
"""

import hashlib
import http.client
import math
import random
import re
import threading
from dataclasses import dataclass, field
from urllib.parse import quote

from e2e.chaos.ledger import ABSENT, Change, Ledger

SMALLEST, LARGEST = 10, 2 << 20
DELETES = 0.15
UPLOADS = 0.1
"""Share of the puts that are multipart uploads, of one part: that may be of any size."""
UPLOAD = re.compile(rb"<UploadId>([^<]+)</UploadId>")
PATIENCE = 60.0
"""Seconds after which an answer is no longer waited for."""


@dataclass(slots=True)
class Writers:
    """Threads that write to one bucket until they are stopped."""

    host: str
    port: int
    bucket: str
    ledger: Ledger
    keys: list[list[str]]
    """For each writer, the keys that it draws from."""
    seed: str
    problems: list[str] = field(default_factory=list)
    """Answers that no client should ever get."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _current: dict[int, Change] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin to write."""
        self._threads = [threading.Thread(target=self._write, args=[number]) for number in range(len(self.keys))]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every writer finish its request."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def in_flight(self) -> list[Change]:
        """The changes whose requests are out and unanswered."""
        return list(self._current.copy().values())

    def _write(self, number: int) -> None:
        choose = random.Random(f"{self.seed} {number}")
        noise = choose.randbytes(2 * LARGEST)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        count = 0
        while not self._stop.is_set():
            count += 1
            key = choose.choice(self.keys[number])
            body = None if choose.random() < DELETES else make_body(choose, f"{number:x}-{count:x}", noise)
            in_parts = body is not None and choose.random() < UPLOADS
            self._send(number, connection, key, body, in_parts=in_parts)
        connection.close()

    def _send(
        self, number: int, connection: http.client.HTTPConnection, key: str, body: bytes | None, *, in_parts: bool
    ) -> None:
        """Make one change, once, and note what came of it."""
        method, path, content = "DELETE" if body is None else "PUT", f"/{self.bucket}/{key}", body
        try:
            if connection.sock is None:
                connection.connect()
        except OSError:
            # Nobody listens between a kill and the next start.
            connection.close()
            self._stop.wait(0.05)
            return
        if in_parts and body is not None:
            begun = self._begin_upload(connection, path, body)
            if begun is None:
                return
            method, path, content = begun
        change = self.ledger.begin(key, ABSENT if body is None else hashlib.md5(body).hexdigest())
        self._current[number] = change
        try:
            connection.request(method, path, body=content)
            response = connection.getresponse()
            document = response.read()
        except TimeoutError:
            self.problems.append(f"no answer within {PATIENCE:g} s to a change of {key}")
            connection.close()
            return
        except (OSError, http.client.HTTPException):
            connection.close()
            self.ledger.end(change, "failed")
        else:
            acknowledged = response.status == (204 if body is None else 200)
            self.ledger.end(change, "acknowledged" if acknowledged else "failed")
            if not acknowledged:
                self.problems.append(f"{response.status} to a change of {key}: {document.decode()}")
        finally:
            del self._current[number]

    def _begin_upload(
        self, connection: http.client.HTTPConnection, path: str, body: bytes
    ) -> tuple[str, str, bytes] | None:
        """Begin an upload and send its part: the request that completes it, or None where the connection broke."""
        try:
            connection.request("POST", f"{path}?uploads")
            begun = connection.getresponse().read()
            upload = UPLOAD.search(begun)
            if upload is None:
                self.problems.append(f"no upload began of {path}: {begun.decode()}")
                return None
            query = f"uploadId={quote(upload[1].decode(), safe='')}"
            connection.request("PUT", f"{path}?partNumber=1&{query}", body=body)
            response = connection.getresponse()
            document = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return None
        if response.status != 200:
            self.problems.append(f"{response.status} to a part of {path}: {document.decode()}")
            return None
        part = f"<Part><PartNumber>1</PartNumber><ETag>{response.headers['ETag']}</ETag></Part>"
        whole = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>"
        return "POST", f"{path}?{query}", whole.encode()


def make_body(choose: random.Random, name: str, noise: bytes) -> bytes:
    """A body that no other change has; small ones are as likely as large ones."""
    size = round(math.exp(choose.uniform(math.log(SMALLEST), math.log(LARGEST))))
    start = choose.randrange(LARGEST)
    return f"{name:<{SMALLEST}}".encode() + noise[start : start + size - SMALLEST]
