"""Single requests of the crash tests: plain HTTP, unsigned, never repeated."""

import http.client
from urllib.parse import quote

from tests.daemons import Daemon

BUCKET = "photos"
OK = (200, 204)


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
    status, body = ask(daemon, "GET", key, **headers)
    assert status in (200, 404), f"{status} to a GET of {key}: {body!r}"
    return body if status == 200 else None
