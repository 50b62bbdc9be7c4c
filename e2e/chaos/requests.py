"""Single requests of the crash tests: plain HTTP, unsigned, never repeated; and what a daemon holds afterwards."""

import hashlib
import http.client
import time
from collections.abc import Callable
from urllib.parse import quote

from tests.daemons import Daemon

BUCKET = "photos"
OK = (200, 204)
NOTHING, DELETED = "nothing", "deleted"


def ask(
    daemon: Daemon, method: str, key: str, body: bytes | None = None, *, bucket: str = BUCKET, **headers: str
) -> tuple[int, bytes]:
    """One request and its answer's status and body; status 0 where the connection broke before an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    try:
        spelt = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/{bucket}/{quote(key)}", body=body, headers=spelt)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def put(daemon: Daemon, key: str, body: bytes, **headers: str) -> int:
    """Put an object; the status."""
    return ask(daemon, "PUT", key, body, **headers)[0]


def get(daemon: Daemon, key: str, **headers: str) -> bytes | None:
    """The object's bytes, None where it is not there. Any other answer is an AssertionError."""
    status, body = ask(daemon, "GET", key, None, **headers)
    assert status in (200, 404), f"{status} to a GET of {key}: {body!r}"
    return body if status == 200 else None


def held(daemon: Daemon, key: str) -> bytes | str:
    """What the local dir holds of a key while the remote is away: a put's bytes, a delete, or nothing."""
    status, body = ask(daemon, "GET", key)
    # Where nothing is pending, the remote is asked.
    assert status in (200, 404) or (status == 503 and b"is away" in body), f"{status} to a GET of {key}: {body!r}"
    shown: dict[int, bytes | str] = {200: body, 404: DELETED, 503: NOTHING}
    return shown[status]


def ends(daemon: Daemon, seconds: float = 0.5) -> bool:
    """Whether the daemon's process ends within a moment."""
    end = time.monotonic() + seconds
    while daemon.running and time.monotonic() < end:
        time.sleep(0.01)
    return not daemon.running


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.05)


def digest(body: bytes) -> str:
    """What stands for a body in what is compared."""
    return hashlib.md5(body).hexdigest()


def states(daemon: Daemon) -> dict[str, int]:
    """Changes by state, without the states that have none."""
    return {state: count for state, count in daemon.status()["states"].items() if count}


def pending(daemon: Daemon) -> int:
    """How many changes are pending."""
    changes: int = daemon.status()["pending"]["changes"]
    return changes


def drained(daemon: Daemon, seconds: float = 120) -> None:
    """Wait until nothing is pending."""
    wait_until(lambda: pending(daemon) == 0, seconds)
