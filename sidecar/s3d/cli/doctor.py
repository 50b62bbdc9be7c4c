"""`doctor`: tries what s3d needs, and says of each thing that it is as it should be, or what to do.

It reads the settings as `run` does, and asks the remote by the daemon's own path, so that it meets what the daemon
would meet. It needs no daemon. It writes nothing but a file without a name beside the local dir, and with --write an
object, which it deletes.
"""

import argparse
import asyncio
import logging
import os
import secrets
import shutil
import socket
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from multidict import CIMultiDict

from s3d import words
from s3d.api import BytesBody
from s3d.cli import client as door
from s3d.cli import terminal
from s3d.cli.client import NotRunning
from s3d.client import Client, request
from s3d.errors import ConfigError, NotS3, S3DError, S3Error, Unavailable
from s3d.protocol import checksums
from s3d.settings import Remote as RemoteSettings
from s3d.settings import Settings

if TYPE_CHECKING:
    from s3d.layers.remote import Remote

FAILED = 1
SYNCS_TRIED = 9
SLOW_SYNC = 0.02
"""Seconds for one sync from which on they are worth a word: each write waits for one."""
SKEWED, TOO_SKEWED = 60.0, 900.0
"""Seconds between our clock and the remote's that are worth a word, and that S3 refuses signatures for."""
KEYS_ARE_WRONG = frozenset(["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"])
COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one thing."""

    about: str
    grade: Literal["ok", "note", "wrong"]
    """A note tells what may surprise; what is wrong keeps s3d from working."""
    text: str
    hint: str = ""
    """What to do."""


def doctor(options: argparse.Namespace) -> int:
    """Try everything, and say what was found."""
    bucket: str = options.target.bucket if options.target else ""
    if options.write and not bucket:
        raise ConfigError("--write needs a bucket", hint="s3d doctor --write BUCKET")
    report = Report(as_json=options.json)
    with quiet():
        settings = of_settings(report)
        if settings is not None:
            for finding in of_machine(settings):
                report.add(finding)
            asyncio.run(try_remote(report, settings, bucket, writes=options.write))
    return FAILED if report.is_wrong else 0


class Report:
    """Says what is found, as it is found."""

    def __init__(self, *, as_json: bool) -> None:
        """Take how."""
        self._as_json = as_json
        self.is_wrong = False

    def add(self, finding: Finding) -> None:
        """Say one."""
        self.is_wrong = self.is_wrong or finding.grade == "wrong"
        show(finding, as_json=self._as_json)
        sys.stdout.flush()


def show(finding: Finding, *, as_json: bool) -> None:
    """Say one."""
    if as_json:
        terminal.print_json(asdict(finding))
    elif not terminal.is_terminal():
        terminal.print_fields(finding.grade, finding.about, finding.text, finding.hint)
    else:
        grade = terminal.paint(f"{finding.grade:<6}", COLOURS[finding.grade])
        terminal.print_rows([(finding.about, f"{grade}{words.printable(finding.text)}")])
        if finding.hint:
            terminal.print_rows([("", f"{'':<6}{words.printable(finding.hint)}")])


@contextmanager
def quiet() -> Iterator[None]:
    """Say nothing in the log: what it would say is found here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def of_settings(report: Report) -> Settings | None:
    """The settings; None where they cannot be used, and so nothing else can be tried."""
    from s3d import config

    try:
        settings = config.load(os.environ)
    except ConfigError as error:
        report.add(Finding("settings", "wrong", error.message, error.hint))
        return None
    report.add(Finding("settings", "ok", "they can be used; `s3d run --check` shows them"))
    return settings


def of_machine(settings: Settings) -> Iterator[Finding]:
    """What is to be tried without the remote."""
    gateway = settings.gateway
    yield of_shell(settings)
    yield of_port(gateway.endpoint, gateway.metrics_endpoint, "S3D_ENDPOINT")
    yield of_port(gateway.metrics_endpoint, gateway.metrics_endpoint, "S3D_METRICS_ENDPOINT")
    yield from of_local_dir(settings)


def of_shell(settings: Settings) -> Finding:
    """Where the SDKs of applications that start from this shell would go."""
    from s3d import config

    said = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    if said and config.names_door(said, settings.gateway):
        return Finding("shell", "ok", f"applications of this shell use {said}")
    where = said or "the remote by themselves"
    hint = f"export AWS_ENDPOINT_URL_S3={settings.gateway.endpoint}"
    return Finding("shell", "note", f"applications of this shell use {where}, and not s3d", hint)


def of_port(url: str, metrics_url: str, name: str) -> Finding:
    """Whether a door can be opened, or is open."""
    parts = urlsplit(url)
    place = parts.hostname or "localhost", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection(place, 2).close()
    except OSError:
        return Finding("port", "ok", f"{url} is free")
    if is_s3d(metrics_url):
        return Finding("port", "ok", f"s3d listens at {url}")
    return Finding("port", "wrong", f"another program listens at {url}", f"end it, or set {name} to another port")


def is_s3d(metrics_url: str) -> bool:
    """Whether a daemon answers at its metrics door."""
    try:
        sock = door.connect(metrics_url)
        with door.exchange(sock, urlsplit(metrics_url).netloc, "GET", "/healthz", {}, None, 0) as response:
            return response.status == HTTPStatus.OK and door.read_bounded(response) == b"ok\n"
    except (NotRunning, S3DError, OSError):
        return False


def of_local_dir(settings: Settings) -> Iterator[Finding]:
    """Whether files can be made durable there, how soon, and how many fit."""
    wanted = settings.gateway.local_dir
    there = next(place for place in (wanted, *wanted.parents) if place.exists())
    try:
        taken = sync_seconds(there)
    except OSError as error:
        hint = "set S3D_LOCAL_DIR to a directory that this user may write to"
        yield Finding("disk", "wrong", f"{there} takes no files: {error.strerror}", hint)
        return
    text = f"{wanted}: a sync takes {taken * 1000:.1f} ms"
    hint = "each write waits for one: another disk is faster" if taken >= SLOW_SYNC else ""
    yield Finding("disk", "note" if hint else "ok", text, hint)
    free, asked = shutil.disk_usage(there).free, settings.write_queue.max_size
    room = f"{words.show_size(free)} are free"
    if settings.write_queue.enabled and free < asked:
        hint = "a full disk answers writes with 503: lower S3D_WRITE_QUEUE_MAX_SIZE, or make room"
        yield Finding("room", "note", f"{room}, and the queue may take {words.show_size(asked)}", hint)
    else:
        yield Finding("room", "ok", room)


def sync_seconds(directory: Path) -> float:
    """How long it takes to make a small file durable, in the middle of some tries. Raises OSError."""
    times = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(SYNCS_TRIED):
            began = time.monotonic()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append(time.monotonic() - began)
    return statistics.median(times)


async def try_remote(report: Report, settings: Settings, bucket: str, *, writes: bool) -> None:
    """Whether the remote answers, takes our keys, and has the buckets."""
    from s3d.layers import remote
    from s3d.metrics import Metrics

    try:
        async with remote.connect(settings.remote, Metrics()) as far:
            client = Client(far, "door")
            if not settings.remote.anonymous:
                keys = await of_keys(far)
                report.add(keys)
                if keys.grade == "wrong":
                    return
            try:
                answered = await client.ask("ListBuckets", {})
            except S3Error as error:
                finding = of_error(error, far.endpoint)
                report.add(finding)
                if finding.grade == "wrong":
                    return
            else:
                report.add(Finding("remote", "ok", f"{far.endpoint} answers, and takes the keys"))
                report.add(of_clock(answered.headers.get("Date", "")))
            for name in dict.fromkeys([*settings.remote.buckets, *([bucket] if bucket else [])]):
                finding = await of_bucket(client, name)
                if finding.grade == "wrong":
                    finding = await of_other_style(settings.remote, far, name) or finding
                report.add(finding)
            if writes:
                await try_writes(report, client, bucket, trailers=settings.remote.checksums == "when_supported")
    except ConfigError as error:
        report.add(Finding("remote", "wrong", error.message, error.hint))


async def of_keys(far: "Remote") -> Finding:
    """Whether there is something to sign with."""
    try:
        await far.identities.own.credentials.find()
    except Unavailable as error:
        return Finding("keys", "wrong", error.message, error.hint or "look at the source of the keys")
    return Finding("keys", "ok", "there are keys for the remote")


def of_error(error: S3Error, endpoint: str) -> Finding:
    """What an error to the first question means."""
    if isinstance(error, NotS3):
        hint = "check scheme, host, port and path of S3_ENDPOINT"
        return Finding("remote", "wrong", f"what answers at {endpoint} is no S3 store", hint)
    if isinstance(error, Unavailable):
        hint = "check S3_ENDPOINT, and the way to it: names, firewalls, proxies, certificates"
        return Finding("remote", "wrong", error.message, hint)
    if error.code == "RequestTimeTooSkewed":
        return Finding("clock", "wrong", "it is too far from the remote's for signatures", "set the clock")
    if error.code in KEYS_ARE_WRONG:
        hint = "check the keys of the remote, and whether they are those of this endpoint"
        return Finding("keys", "wrong", f"the remote refuses them: {error.code}", hint)
    if error.code == "AccessDenied":
        return Finding("remote", "ok", f"{endpoint} answers; the keys may not list buckets")
    return Finding("remote", "note", f"{endpoint} does not list its buckets: {error.code}: {error.message}")


def of_clock(date: str) -> Finding:
    """How far our clock is from the remote's."""
    try:
        ahead = time.time() - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return Finding("clock", "note", "the remote does not say what time it is")
    text = f"it is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the remote's"
    if abs(ahead) >= TOO_SKEWED:
        return Finding("clock", "wrong", text, "set the clock: S3 refuses signatures beyond a quarter of an hour")
    return Finding("clock", "note", text, "set the clock") if abs(ahead) >= SKEWED else Finding("clock", "ok", text)


async def of_bucket(client: Client, bucket: str) -> Finding:
    """Whether a bucket is there for us."""
    try:
        await client.head_bucket(bucket, fresh=True)
    except S3Error as error:
        if error.status == HTTPStatus.NOT_FOUND:
            hint = "make it, or check its name"
            return Finding("bucket", "wrong", f"there is no bucket {bucket}", hint)
        if error.status == HTTPStatus.FORBIDDEN:
            hint = "check the policy of the keys and of the bucket"
            return Finding("bucket", "wrong", f"the keys may not use bucket {bucket}", hint)
        return Finding("bucket", "wrong", f"bucket {bucket} cannot be asked: {error}", error.hint or "try again")
    return Finding("bucket", "ok", f"bucket {bucket} is there")


async def of_other_style(settings: RemoteSettings, far: "Remote", bucket: str) -> Finding | None:
    """Whether a bucket that is not found is found in the host name instead of the path, or the other way round."""
    from s3d.layers import remote
    from s3d.metrics import Metrics

    other: Literal["path", "virtual"] = "path" if far.is_virtual else "virtual"
    async with remote.connect(settings.model_copy(update={"addressing": other}), Metrics()) as there:
        finding = await of_bucket(Client(there, "door"), bucket)
    if finding.grade == "wrong":
        return None
    how = "in the path" if far.is_virtual else "in the host name (virtual)"
    return Finding(
        "bucket",
        "wrong",
        f"bucket {bucket} is found only by requests that name it {how}",
        f"set S3D_ADDRESSING={other}",
    )


async def try_writes(report: Report, client: Client, bucket: str, *, trailers: bool) -> None:
    """Whether the remote takes a write, keeps conditions of writes and, where they are sent, takes trailing
    checksums."""
    where = {"Bucket": bucket, "Key": f"s3d-doctor-{secrets.token_hex(8)}"}
    try:
        await client.ask("PutObject", where, BytesBody(b"s3d doctor"))
    except S3Error as error:
        report.add(
            Finding(
                "write",
                "wrong",
                f"bucket {bucket} takes no objects: {error}",
                error.hint or "check the policy of the keys",
            )
        )
        return
    report.add(Finding("write", "ok", f"bucket {bucket} takes objects"))
    try:
        second = await client.ask(
            "PutObject",
            {**where, "IfNoneMatch": "*"},
            BytesBody(b"s3d doctor"),
            allow=(HTTPStatus.PRECONDITION_FAILED,),
        )
        keeps = second.status == HTTPStatus.PRECONDITION_FAILED
    except S3Error:
        keeps = False
    if keeps:
        report.add(Finding("write", "ok", "the remote keeps conditions of writes (If-None-Match)"))
    else:
        text = "the remote does not keep conditions of writes: that somebody else wrote a key is seen later"
        report.add(Finding("write", "note", text, "see S3D_WRITE_QUEUE_CONFLICT"))
    if trailers:
        report.add(await of_trailers(client, where))
    try:
        await client.ask("DeleteObject", where)
    except S3Error as error:
        report.add(
            Finding("write", "wrong", f"{bucket}/{where['Key']} cannot be deleted: {error}", "delete it yourself")
        )


async def of_trailers(client: Client, where: dict[str, str]) -> Finding:
    """Whether the remote takes a trailing checksum, as SDKs send it with large objects."""
    from s3d.layers.remote import TRAILER_BUFFER, UNSIGNED_TRAILER

    data = bytes(TRAILER_BUFFER + 1)
    call = request("PutObject", where, BytesBody(data))
    headers = CIMultiDict(call.wire.headers)
    headers.update({checksums.PAYLOAD: UNSIGNED_TRAILER, "x-amz-trailer": f"{checksums.PREFIX}crc32"})
    promise = checksums.Expected(checksum=("crc32", zlib.crc32(data).to_bytes(4, "big")))
    body = checksums.verify(BytesBody(data), promise, names=())
    try:
        await client.send(replace(call, wire=replace(call.wire, headers=headers), body=body))
    except S3Error as error:
        hint = "set S3D_CHECKSUMS=when_required"
        return Finding("write", "wrong", f"the remote refuses trailing checksums: {error}", hint)
    return Finding("write", "ok", "the remote takes trailing checksums")
