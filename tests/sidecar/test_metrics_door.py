"""The metrics door of a daemon that holds many keys: whatever it is asked, it names none of them (A-7)."""

import http.client
import random
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.daemons import StartDaemon
from tests.processes import free_port
from tests.remotes import Remote

KEYS = [f"planted-{number}/patient.pdf" for number in range(200)]
PATHS = (
    "/ /style.css /metrics /status /healthz /readyz /log /queue /queue/why /queue/under-way /queue/retry "
    "/queue/discard /queue/body /history /cache /cache/drop /flush /prestop //status /status/ /status/../queue /%71ueue"
).split()
METHODS = "GET HEAD POST PUT DELETE OPTIONS PATCH".split()
TYPES = ("*/*", "application/openmetrics-text", "text/html", "application/json", "x" * 500)
ROUNDS = 1000


def question(chance: random.Random) -> tuple[str, str, dict[str, str]]:
    """Something that may be asked: method, target and headers."""
    names = ("bucket", "key", "prefix", "seq", "after", "upto", "level", "format")
    values = (
        "photos",
        chance.choice(KEYS),
        chance.choice(KEYS)[:8],
        str(chance.randrange(2000)),
        "",
        "*",
        "%",
        "debug",
    )
    query = "&".join(
        f"{chance.choice(names)}={quote(chance.choice(values), safe='/%')}" for _ in range(chance.randrange(4))
    )
    method = chance.choice(METHODS) if chance.random() < 0.3 else "GET"
    return method, chance.choice(PATHS) + (f"?{query}" if query else ""), {"Accept": chance.choice(TYPES)}


@pytest.mark.semantics("A-7")
def test_whatever_the_metrics_door_is_asked_it_names_no_key(moto: Remote, start_daemon: StartDaemon) -> None:
    away = Remote("away", f"http://127.0.0.1:{free_port()}", "Dummy", "Dummy", moto.program)
    daemon = start_daemon(away, S3D_BUCKETS="photos", S3D_LOG_LEVEL="error")
    s3 = daemon.client(max_pool_connections=8)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket="photos", Key=key, Body=key.encode()), KEYS))
    assert daemon.status()["pending"]["changes"] == len(KEYS)
    assert "planted-" in str(daemon.ask("/queue/under-way")), "they are there to be named"
    chance = random.Random(7)
    for _ in range(ROUNDS):
        method, target, headers = question(chance)
        connection = http.client.HTTPConnection("127.0.0.1", daemon.metrics_port, timeout=30)
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        said = answer.read() + str(answer.getheaders()).encode()
        connection.close()
        assert b"planted" not in said, (method, target)
        assert answer.status < 500 or target.partition("?")[0] == "/readyz", (method, target)
    assert daemon.status()["pending"]["changes"] == len(KEYS), "nothing was done"
