"""What rules cost: a policy that is asked and does not answer."""

import statistics
import time
from collections.abc import Callable

from e2e.bench import loads
from e2e.bench.loads import BUCKET
from e2e.bench.run import HELD, Run, fill, need, pending
from e2e.bench.servers import Server
from e2e.bench.table import at_most
from tests.policies import ALLOW, agent, hung
from tests.processes import free_port

KEYS = 500
LEFT = 500
"""Changes that wait for a policy."""
TIME_LIMIT = 300.0
"""In seconds."""


def policy(run: Run) -> None:
    """Puts while a policy hangs, beside puts that nobody is asked about; and how soon all leaves when it is back."""
    place = run.place
    remote = need(place.versitygw(), "versitygw")
    remote.client.create_bucket(Bucket=BUCKET)
    port = free_port()
    asks = {"S3D_OPA_URL": f"http://127.0.0.1:{port}"}
    keys = [f"k/{number:05}" for number in range(KEYS)]
    with hung(port):
        kinds = {"without a policy": HELD, "while it hangs": {**HELD, **asks}}
        servers = [place.s3d(remote, None, name, **settings) for name, settings in kinds.items()]
        p99: dict[str, list[float]] = {name: [] for name in kinds}
        for server in servers:
            fill(server, keys)
            (place.directory / server.name).write_text("\n".join(loads.presign(server, "put_object", keys)))
        for turn in range(run.rounds + 1):
            for server in servers:
                result = loads.run(server, place.directory / server.name, 16, run.seconds)
                # The first turn warms up.
                p99[server.name] += [result.p99 * 1000] if turn else []
            servers.reverse()
        for server in servers:
            server.stop()
        waiting = place.s3d(remote, None, "s3d", **asks)
        fill(waiting, [f"left/{number:05}" for number in range(LEFT)])
        wait_until(waiting, lambda: pending(waiting, "held") == LEFT, "hold what there is no decision of")
        if remote.client.list_objects_v2(Bucket=BUCKET, Prefix="left/")["KeyCount"]:
            raise RuntimeError("something left that nobody has judged")
    with agent(place.new("policy"), ALLOW, port=port):
        took = wait_until(waiting, lambda: not pending(waiting), "deliver what waited")
    got = {name: statistics.median(some) for name, some in p99.items()}
    waited = got.pop("while it hangs")
    run.add(at_most("durable PUT 4 KiB while the policy hangs, p99", "ms", waited, got, {"without a policy": 1.1}))
    run.add(at_most(f"{LEFT} changes delivered once the policy answers", "s", took, {}, {"": 5}))


def wait_until(server: Server, holds: Callable[[], bool], what: str) -> float:
    """Ask again and again; the seconds until it holds. Raises RuntimeError."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() > started + TIME_LIMIT:
            raise RuntimeError(f"{server.name} did not {what} in {TIME_LIMIT:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - started
