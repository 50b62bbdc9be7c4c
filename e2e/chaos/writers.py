"""Clients that put and delete all the time, and survive their gateway.

Each draws from its own generator, so that a seed names a run. They speak plain HTTP without signatures: what is under
test is the daemon, and a stock SDK would take most of the machine.
"""

import hashlib
import http.client
import math
import random
import threading
from dataclasses import dataclass, field

from e2e.chaos.ledger import ABSENT, Change, Ledger

SMALLEST, LARGEST = 10, 2 << 20
DELETES = 0.15
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
            self._send(number, connection, key, body)
        connection.close()

    def _send(self, number: int, connection: http.client.HTTPConnection, key: str, body: bytes | None) -> None:
        """Make one change, once, and note what came of it."""
        try:
            if connection.sock is None:
                connection.connect()
        except OSError:
            # Nobody listens between a kill and the next start.
            connection.close()
            self._stop.wait(0.05)
            return
        change = self.ledger.begin(key, ABSENT if body is None else hashlib.md5(body).hexdigest())
        self._current[number] = change
        try:
            connection.request("DELETE" if body is None else "PUT", f"/{self.bucket}/{key}", body=body)
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


def make_body(choose: random.Random, name: str, noise: bytes) -> bytes:
    """A body that no other change has; small ones are as likely as large ones."""
    size = round(math.exp(choose.uniform(math.log(SMALLEST), math.log(LARGEST))))
    start = choose.randrange(LARGEST)
    return f"{name:<{SMALLEST}}".encode() + noise[start : start + size - SMALLEST]
