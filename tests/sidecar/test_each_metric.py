"""Each metric moves where what it tells of happens.

Each that is declared is moved by a test here, or by one elsewhere that is named here: a new one without either is seen.
"""

import ast
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from s3d import opa
from s3d.errors import S3Error
from s3d.metrics import Metrics
from s3d.settings import Opa
from s3d.sync.state import State
from tests.caches import Far, cached
from tests.callers import Answer, ask
from tests.daemons import ROOT, Daemon, StartDaemon, drained, eventually
from tests.fakes.contents import Bucket
from tests.fakes.fake import Fake
from tests.gateways import gateway
from tests.mounts import Mounted
from tests.policies import Scripted, answering
from tests.queues import BUCKET, at_work, opened, until
from tests.refusals import Refuse
from tests.relays import AWAY
from tests.remembering import remembering
from tests.remotes import Remote, client
from tests.sidecar.layers.queue.push.odd_answers import FOREIGN, s3_error
from tests.sidecar.layers.queue.test_damage import damage
from tests.sidecar.store.test_db import FailingDisk, disk
from tests.sidecar.sync.folders import synced
from tests.sidecar.test_opa import PUT
from tests.stores import Odd, Store

__all__ = ["disk"]

HERE: set[str] = set()
"""Those that are moved by a test of this module."""
ELSEWHERE = {
    "s3d_background_failures_total": "layers/cache/test_with_queue.py test_a_hand_over_that_fails_holds_up_no_delivery",
    "s3d_build_info": "admin/test_routes.py test_metrics_are_served_while_the_status_cannot_be_read",
    "s3d_cache_corrupt_blocks_total": "layers/cache/test_disk.py "
    "test_a_damaged_block_is_fetched_again_and_no_byte_of_it_is_given",
    "s3d_cache_evictions_total": "layers/cache/test_filter.py test_a_filter_that_changes_drops_what_it_leaves_out",
    "s3d_cache_pinned_objects": "layers/cache/test_pins.py test_pinned_objects_take_half_of_the_limit_and_no_more",
    "s3d_cache_remembered_objects": "layers/names/test_at_a_store.py test_a_listing_goes_on_over_an_outage",
    "s3d_log_dropped_total": "test_logs.py test_requests_are_answered_and_the_end_comes_while_nobody_reads_the_log",
    "s3d_loop_lag_seconds": "test_metrics.py test_a_loop_that_is_kept_busy_shows_its_lag",
    "s3d_mount_unpublished_files": "mount/test_crashes.py "
    "test_a_file_that_cannot_become_an_object_says_so_at_close_and_is_tried_again",
    "s3d_queue_conflicts_total": "layers/queue/push/test_conflicts.py "
    "test_what_somebody_else_wrote_meanwhile_is_overwritten_or_both_are_kept",
    "s3d_queue_kept_bytes": "test_policy_daemon.py "
    "test_what_is_held_and_what_nobody_has_judged_shows_in_status_command_and_metrics",
    "s3d_queue_limit_bytes": "test_queue_metrics.py test_how_full_the_queue_is_can_be_told_from_the_metrics",
    "s3d_queue_limit_changes": "test_queue_metrics.py test_how_full_the_queue_is_can_be_told_from_the_metrics",
    "s3d_queue_unjudged_changes": "test_policy_daemon.py "
    "test_what_is_held_and_what_nobody_has_judged_shows_in_status_command_and_metrics",
    "s3d_sync_copied_bytes_total": "sync/test_moves.py test_a_renamed_directory_is_copied_by_the_remote",
    "s3d_telemetry_dropped_total": "test_telemetry.py test_a_collector_that_hangs_is_waited_for_by_nobody",
    "s3d_tls_certificate_expiry_timestamp_seconds": "test_tls.py "
    "test_a_new_certificate_is_taken_over_beside_running_connections",
    "s3d_tls_handshake_failures_total": "test_tls.py "
    "test_with_a_ca_of_clients_only_those_are_served_that_it_has_signed",
}
"""By metric: the module under tests/sidecar and the test that moves it."""


def moves(*names: str) -> pytest.MarkDecorator:
    """Say which metrics a test moves; it is given their names."""
    HERE.update(names)
    return pytest.mark.parametrize("names", [names], ids=["moves"])


def samples(page: str, name: str) -> dict[str, str]:
    """The samples of a metric: of a histogram, how many there are."""
    lines = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    return {sample: value for sample, value in lines if sample.partition("{")[0] in (name, f"{name}_count")}


def page_of(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def unmoved(names: tuple[str, ...], metrics: Metrics) -> list[str]:
    """Those that say what they say where nothing has happened."""
    before, after = page_of(Metrics()), page_of(metrics)
    return [name for name in names if samples(before, name) == samples(after, name)]


class Door:
    """The metrics of a daemon, beside what they were."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._before = self.page()

    def page(self) -> str:
        with urllib.request.urlopen(f"{self._daemon.metrics_endpoint}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def moved(self, *names: str) -> None:
        """Wait until each of them has moved since this was asked before."""

        def unmoved() -> list[str]:
            now = self.page()
            return [name for name in names if samples(self._before, name) == samples(now, name)]

        eventually(lambda: not unmoved())
        self._before = self.page()


def test_each_metric_that_is_declared_is_moved_by_a_test() -> None:
    declared = {row.name for row in Metrics().table.rows}
    assert declared - HERE - ELSEWHERE.keys() == set()
    assert (HERE | ELSEWHERE.keys()) - declared == set()
    assert HERE & ELSEWHERE.keys() == set()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_moved_elsewhere_is_looked_at_there(name: str) -> None:
    path, test = ELSEWHERE[name].split()
    source = (ROOT / "tests" / "sidecar" / path).read_text(encoding="utf-8")
    assert name in source
    assert any(getattr(node, "name", "") == test for node in ast.walk(ast.parse(source)))


@pytest.mark.usefixtures("quick")
@moves(
    "s3d_queue_pushes_total",
    "s3d_queue_push_retries_total",
    "s3d_queue_write_through_total",
    "s3d_queue_etag_mismatch_total",
    "s3d_queue_late_writes_total",
    "s3d_remote_requests_total",
    "s3d_store_commits_total",
    "s3d_store_commit_changes",
    "s3d_store_commit_duration_seconds",
)
async def test_what_the_queue_does(names: tuple[str, ...], tmp_path: Path) -> None:
    named = {"Bucket": BUCKET, "Key": "k"}
    async with Store() as store, gateway(tmp_path, store, late_write_window=1.0) as here:

        async def put(data: bytes, **params: Any) -> None:
            assert isinstance(await here.ask("PutObject", named | params, data), Answer)
            await until(lambda: here.state(BUCKET, "k") == "delivered")

        store.fake.buckets[BUCKET] = Bucket(BUCKET, 0.0)
        await put(b"through", IfNoneMatch="*")
        await put(b"through, to see what the remote makes of it")
        store.hook(s3_error(503, "SlowDown"), "PutObject", times=1)
        await put(b"is refused once")
        store.hook(Odd(200, {"ETag": FOREIGN}, applied=True), "PutObject", times=1)
        await put(b"is said to be another")
        store.hook(Odd(504, late=True), "PutObject", times=1)
        await put(b"comes late")
        await put(b"the newest")
        store.arrive(BUCKET)
        await until(lambda: store.data(BUCKET, "k") == b"the newest")
        assert unmoved(names, here.queue.pusher._metrics) == []


@moves("s3d_queue_quarantined_total")
async def test_a_damaged_row(names: tuple[str, ...], tmp_path: Path) -> None:
    remote = Fake()
    await ask(remote, "CreateBucket", {"Bucket": BUCKET}, typed=True)
    async with opened(tmp_path, remote) as queue:
        await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "k"}, b"data")
    damage(tmp_path / "queue" / "queue.db", "size is negative", "k")
    async with at_work(tmp_path, remote) as queue:
        await until(lambda: not unmoved(names, queue.pusher._metrics))


@moves("s3d_store_failures_total")
async def test_a_disk_that_fails(names: tuple[str, ...], tmp_path: Path, disk: FailingDisk) -> None:
    async with opened(tmp_path, Fake()) as queue:
        disk.broken = True
        with pytest.raises(S3Error):
            await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "k"}, b"data")
        assert unmoved(names, queue.pusher._metrics) == []
        disk.broken = False


@moves(
    "s3d_cache_bytes",
    "s3d_cache_objects",
    "s3d_cache_saved_bytes_total",
    "s3d_cache_validation_duration_seconds",
    "s3d_cache_requests_total",
    "s3d_cache_fills_total",
)
async def test_what_the_cache_does(names: tuple[str, ...], tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, runs=True) as there:
        await far.put("k", b"data")
        await there.get("k")
        await there.quiet()
        await there.get("k")
        await until(lambda: not unmoved(names, there.metrics))


@moves("s3d_cache_heads_total", "s3d_cache_listings_total")
async def test_what_is_remembered(names: tuple[str, ...], tmp_path: Path) -> None:
    async with remembering(tmp_path) as here:
        await here.put("k")
        await here.ask("HeadObject", "k")
        await here.page()
        assert unmoved(names, here.names._metrics) == []


@moves(
    "s3d_sync_files",
    "s3d_sync_actions_total",
    "s3d_sync_conflicts_total",
    "s3d_sync_left_alone_files",
    "s3d_sync_unsent_files",
    "s3d_sync_halted",
)
async def test_what_the_sync_folder_does(names: tuple[str, ...], tmp_path: Path) -> None:
    async with synced(tmp_path) as world:
        *others, unsent, halted = names
        world.write("a", b"base")
        await world.settle()
        world.write("a", b"mine")
        await world.foreign.put("a", b"theirs")
        await world.foreign.put("../up", b"no file")
        await world.settle()
        assert unmoved((*others,), world.folder._metrics) == []
        await world.folder.pause()
        world.write("b", b"mine")
        await world.rounds(1)
        assert unmoved((unsent,), world.folder._metrics) == []
        await world.folder.resume(as_new=False, accepts=False)
        for file in world.here():
            (world.path / file).unlink()
        await world.rounds()
        assert world.folder.state is State.HALTED
        assert unmoved((halted,), world.folder._metrics) == []


@moves("s3d_opa_requests_total", "s3d_opa_request_duration_seconds")
async def test_a_policy_that_is_asked(names: tuple[str, ...]) -> None:
    metrics = Metrics()
    async with answering(Scripted()) as url, opa.connect(Opa(url=url), metrics) as asked:
        await asked(PUT)
    assert unmoved(names, metrics) == []


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@moves("s3d_mount_open_files", "s3d_mount_requests_total", "s3d_mount_staged_bytes")
def test_a_file_of_the_mount_that_is_written(names: tuple[str, ...], mounted: Mounted) -> None:
    door = Door(mounted.daemon)
    with (mounted.dir / "file").open("wb", buffering=0) as file:
        file.write(b"data")
        door.moved(*names)


REQUESTS = (
    "s3d_requests_total",
    "s3d_request_duration_seconds",
    "s3d_request_first_byte_seconds",
    "s3d_request_bytes_total",
    "s3d_response_bytes_total",
    "s3d_bucket_requests_total",
    "s3d_bucket_request_bytes_total",
    "s3d_bucket_response_bytes_total",
    "s3d_auth_total",
    "s3d_remote_identity_up",
)
PENDING = (
    "s3d_queue_pending_changes",
    "s3d_queue_pending_bytes",
    "s3d_queue_oldest_age_seconds",
    "s3d_queue_disk_bytes",
    "s3d_queue_paused_lanes",
    "s3d_problem",
)
FILES = ("s3d_access_keys", "s3d_reload_failed")


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@moves(*REQUESTS, *PENDING, *FILES, "s3d_remote_up")
def test_what_a_daemon_does(
    names: tuple[str, ...], remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    entries = [{"id": f"app{number}", "secret": "a-secret-of-the-door", "identity": "team"} for number in range(3)]
    account = {"name": "team", "accessKeyID": remote.access_key, "secretAccessKey": remote.secret_key}
    keys, identities = tmp_path / "keys.json", tmp_path / "identities.json"

    def write(file: Path, text: str) -> None:
        new = file.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o600)
        new.replace(file)

    write(keys, json.dumps(entries[:2]))
    write(identities, json.dumps([account]))
    proxy = refusing(remote)
    files = {"S3D_ACCESS_KEYS_FILE": str(keys), "S3D_REMOTE_IDENTITIES_FILE": str(identities)}
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, **files, **AWAY)
    door = Door(daemon)
    s3 = client(daemon.endpoint, "app0", "a-secret-of-the-door")
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    s3.get_object(Bucket=bucket, Key="k")["Body"].read()
    eventually(lambda: drained(daemon))
    door.moved(*REQUESTS)
    proxy.set({"path": f"/{bucket}/", "method": "PUT", "status": 403, "code": "InvalidAccessKeyId"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"another one")
    door.moved(*PENDING)
    write(keys, json.dumps(entries))
    door.moved("s3d_access_keys")
    write(keys, "[")
    door.moved("s3d_reload_failed")
    proxy.proxy.end()
    door.moved("s3d_remote_up")
