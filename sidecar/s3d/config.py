"""Reading the settings: from the environment and from a file by the same names, at start-up and again at run time.

A name that begins with S3D_ and is not known is refused with a suggestion, and so is one whose part is not built.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from s3d import documents
from s3d.errors import ConfigError
from s3d.settings import SECTIONS, Gateway, Opa, Settings, SyncFolder, known_settings, reloadable
from s3d.settings.section import setting_name
from s3d.settings.sync_folder import FIRST

VOLUME_MARGIN = 512 << 20
"""What stays free of a volume: tables, bodies on their way in, the file system itself."""
# Set by a kubelet for every Service of the namespace; one that is called s3d-something must not stop a sidecar.
SERVICE_LINK = re.compile(r"S3D(_\w+)?_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")


def reload(settings: Settings, values: Mapping[str, Any]) -> list[str]:
    """Take over those of `values` that reload, all or none; answer the variables that changed.

    The sections are changed in place: their readers hold them. Raises ConfigError and changes nothing.
    """
    places = {variable: (section, name) for variable, section, name, _ in known_settings()}
    if fixed := sorted(values.keys() - reloadable()):
        raise ConfigError(f"{', '.join(fixed)} cannot change while s3d runs", hint="restart it with other settings")
    wanted: dict[str, dict[str, Any]] = {}
    for variable, value in values.items():
        section, name = places[variable]
        wanted.setdefault(section, {})[name] = value
    try:
        new = {
            section: (old := getattr(settings, section)).__class__(**{**old.__dict__, **changes})
            for section, changes in wanted.items()
        }
    except ValidationError as error:
        names = {name: variable for variable, (section, name) in places.items() if section in wanted}
        problems = "; ".join(
            f"{names[str(e['loc'][0])]}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        )
        raise ConfigError(problems, hint="see docs/settings.md") from None
    together = settings.model_copy(update=new)
    check_room(together)
    check_opa(together.opa)
    changed = []
    for variable in sorted(values):
        section, name = places[variable]
        old, now = getattr(settings, section), getattr(new[section], name)
        if getattr(old, name) != now:
            old.__dict__[name] = now
            changed.append(variable)
    return changed


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings from `environment` and from the file that its S3D_CONFIG names; the environment wins.

    Raises ConfigError with every problem found, each with a hint.
    """
    places = {variable: (section, name) for variable, section, name, _ in known_settings()}
    values: dict[str, Any] = {**read_file(environment.get("S3D_CONFIG", "")), **environment}
    problems: list[str] = []
    sections: dict[str, dict[str, Any]] = {section: {} for section, _ in SECTIONS}
    for variable, value in values.items():
        if variable in places:
            section, name = places[variable]
            sections[section][name] = value
        elif is_ours(variable):
            problems.append(refusal(variable, list(places)))
    built: dict[str, Any] = {}
    for section, model in SECTIONS:
        try:
            built[section] = model(**sections[section])
        except ValidationError as error:
            problems += [
                f"{named(setting_name(model.model_fields[str(e['loc'][0])]), e['loc'])}: "
                + e["msg"].removeprefix("Value error, ")
                for e in error.errors()
            ]
    if problems:
        raise ConfigError("; ".join(problems), hint="see docs/settings.md, or `s3d run --help`")
    settings = Settings(**built)
    check_together(settings)
    return settings


def named(variable: str, place: Sequence[int | str]) -> str:
    """A setting, or the member of it that is wrong, by its place in the section: `S3D_SYNC_FOLDERS[0].poll`."""
    return variable + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place[1:])


def is_ours(variable: str) -> bool:
    """Whether a name that is not known is meant for s3d."""
    return (
        variable.startswith("S3D_")
        and variable != "S3D_CONFIG"
        and not variable.startswith("S3D_E2E_")
        and not SERVICE_LINK.fullmatch(variable)
    ) or variable.startswith("S3_END")


def refusal(variable: str, known: list[str]) -> str:
    """Say why a name is refused and what was probably meant."""
    close = difflib.get_close_matches(variable, known, n=1)
    return f"{variable} is not a setting" + (f"; did you mean {close[0]}?" if close else "")


def read_file(source: str) -> dict[str, Any]:
    """Read S3D_CONFIG: a JSON object itself, or the path of a JSON or TOML file of setting names and values."""
    if not source.strip():
        return {}
    try:
        if source.lstrip().startswith("{"):
            values = documents.parse(source)
        else:
            path = Path(source)
            text = path.read_text(encoding="utf-8")
            values = tomllib.loads(text) if path.suffix == ".toml" else documents.parse(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"S3D_CONFIG cannot be read: {error}", hint="give a JSON object, or a .json or .toml file"
        ) from None
    return check_names(values)


def check_names(values: object) -> dict[str, Any]:
    """Refuse what is not an object of settings. Raises ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError("S3D_CONFIG is not an object of names and values", hint='such as {"S3D_BUCKETS": "photos"}')
    secrets = sorted(name for name in values if name.startswith("AWS_") and name != "AWS_REGION")
    if secrets:
        raise ConfigError(
            f"S3D_CONFIG holds {', '.join(secrets)}", hint="credentials come from the environment or an AWS profile"
        )
    known = {variable for variable, *_ in known_settings()}
    misplaced = sorted(name for name in values if not name.startswith(("S3D_", "S3_")) and name not in known)
    if misplaced:
        raise ConfigError(f"S3D_CONFIG: {', '.join(misplaced)} is not a setting", hint="see docs/settings.md")
    return values


def check_together(settings: Settings) -> None:
    """Refuse settings that are each valid but not together."""
    door = urlsplit(settings.gateway.endpoint)
    check_tls(settings.gateway)
    has_keys = settings.gateway.access_keys_file is not None or settings.gateway.app_credentials_file is not None
    is_meant = has_keys or settings.gateway.insecure
    if not is_loopback(door.hostname or "") and not is_meant:
        raise ConfigError(
            f"S3D_ENDPOINT: {door.hostname} is not a loopback address, and everyone who reaches the door acts as s3d",
            hint="set S3D_ACCESS_KEYS_FILE, or listen on 127.0.0.1, or allow it with S3D_INSECURE=true",
        )
    check_room(settings)
    check_opa(settings.opa)
    check_sync(settings)
    check_mount(settings)
    if settings.remote.endpoint and names_door(settings.remote.endpoint, settings.gateway):
        raise ConfigError(
            "S3_ENDPOINT names s3d's own door: it would call itself", hint="S3_ENDPOINT is the store behind s3d"
        )


def check_tls(gateway: Gateway) -> None:
    """Refuse TLS that is set by halves. Raises ConfigError; the files are read by whoever opens the door."""
    is_https = urlsplit(gateway.endpoint).scheme == "https"
    files = {"S3D_TLS_CERT": gateway.tls_cert, "S3D_TLS_KEY": gateway.tls_key}
    missing = [name for name, path in files.items() if path is None]
    if is_https and missing:
        raise ConfigError(
            f"S3D_ENDPOINT is https://, and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            hint="they name the PEM files of the certificate and of its key",
        )
    files |= {"S3D_TLS_CLIENT_CA": gateway.tls_client_ca, "S3D_TLS_CA": gateway.tls_ca}
    unused = [name for name, path in files.items() if path is not None]
    if not is_https and unused:
        raise ConfigError(
            f"S3D_ENDPOINT is http://, and {', '.join(unused)} would not be used", hint="write https:// there"
        )


def port_of(url: str) -> int:
    """The port of an http or https URL. Raises ValueError."""
    parts = urlsplit(url)
    return parts.port or {"http": 80, "https": 443}[parts.scheme]


def names_door(url: str, gateway: Gateway) -> bool:
    """Whether a URL leads to the S3 door on this machine's loopback."""
    door, there = urlsplit(gateway.endpoint), urlsplit(url)
    try:
        is_its_port = port_of(url) == port_of(gateway.endpoint)
    except (ValueError, KeyError):
        return False
    return is_its_port and is_loopback(there.hostname or "") and is_loopback(door.hostname or "")


def check_room(settings: Settings) -> None:
    """Refuse a queue, a cache and a mount that could outgrow their volume: a kubelet evicts the pod whose emptyDir does
    so, at once. A cache in a directory of its own is not on that volume."""
    size, queue, cache = settings.gateway.volume_size, settings.write_queue, settings.read_cache
    parts = {
        "S3D_WRITE_QUEUE_MAX_SIZE": queue.max_size if queue.enabled else 0,
        "S3D_READ_CACHE_MAX_SIZE": cache.max_size if cache.enabled and cache.dir is None else 0,
        "S3D_FUSE_MOUNT_MAX_SIZE": settings.fuse_mount.max_size if settings.fuse_mount.enabled else 0,
    }
    named = {name: most for name, most in parts.items() if most}
    if named and size and sum(named.values()) + VOLUME_MARGIN > size:
        raise ConfigError(
            f"{' and '.join(named)}: {sum(named.values())} bytes and 512Mi do not fit into the volume of {size} bytes",
            hint="lower it, or give s3d a larger volume and say so in S3D_VOLUME_SIZE",
        )


def check_mount(settings: Settings) -> None:
    """Refuse a mount without a place, or above what s3d uses: it would wait for itself. Raises ConfigError."""
    if not settings.fuse_mount.enabled:
        return
    if settings.fuse_mount.dir is None:
        raise ConfigError("S3D_FUSE_MOUNT: S3D_FUSE_MOUNT_DIR is not set", hint="name an empty directory")
    place = settings.fuse_mount.dir.resolve()
    for variable, section, name, _ in known_settings():
        used = getattr(getattr(settings, section), name)
        if isinstance(used, Path) and variable != "S3D_FUSE_MOUNT_DIR" and used.resolve().is_relative_to(place):
            raise ConfigError(
                f"{variable} is below S3D_FUSE_MOUNT_DIR: s3d would wait for itself", hint="name another directory"
            )


def check_opa(opa: Opa) -> None:
    """Refuse a token that would go over a network in clear, and a fail mode of what nobody is asked. Raises
    ConfigError."""
    if opa.fail_cache == "closed" and not opa.cache_path:
        raise ConfigError(
            "S3D_OPA_FAIL_CACHE is closed, and no policy is asked what the read cache may keep",
            hint="name its rule in S3D_OPA_CACHE_PATH, such as s3d/cache, or leave the fail mode out",
        )
    there = urlsplit(opa.url or "")
    if opa.token_file is not None and there.scheme == "http" and not is_loopback(there.hostname or ""):
        raise ConfigError(
            "S3D_OPA_URL is http://, and the token of S3D_OPA_TOKEN_FILE would travel in clear",
            hint="write https:// there, or leave the token out",
        )


def check_sync(settings: Settings) -> None:
    """Refuse sync folders that are set by halves, and two of which one has what is the other's, here or at the remote:
    what one does the other would take for what somebody did. Raises ConfigError."""
    folders = settings.folders
    if settings.sync_folder.enabled and folders[FIRST] is not settings.sync_folder:
        raise ConfigError(
            f"S3D_SYNC_FOLDERS: {FIRST!r} is what the folder of S3D_SYNC_FOLDER is called", hint="give it another name"
        )
    for name, said in folders.items():
        check_folder(settings, name, said)
    for (name, one), (other_name, other) in combinations(folders.items(), 2):
        hint = "give each a directory and a prefix of its own"
        if one.dir and other.dir and is_nested(one.dir.resolve(), other.dir.resolve()):
            raise ConfigError(
                f"the sync folders {name!r} and {other_name!r} are one in the other: {one.dir} and {other.dir}",
                hint=hint,
            )
        if one.bucket == other.bucket and (one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)):
            raise ConfigError(
                f"the sync folders {name!r} and {other_name!r} have objects of the bucket {one.bucket} in common: one "
                f"has the prefix {one.prefix!r}, the other {other.prefix!r}",
                hint=hint,
            )


def check_folder(settings: Settings, name: str, said: SyncFolder) -> None:
    """Refuse a sync folder that is set by halves, or that and s3d's own are one in the other. Raises ConfigError."""
    is_first = said is settings.sync_folder
    where = "S3D_SYNC_FOLDER" if is_first else f"S3D_SYNC_FOLDERS, {name!r}"
    if said.dir is None or not said.bucket:
        raise ConfigError(
            f"{where}: it is not said which folder and which bucket",
            hint="set S3D_SYNC_FOLDER_DIR and S3D_SYNC_FOLDER_BUCKET" if is_first else "it needs a dir and a bucket",
        )
    if not settings.write_queue.enabled:
        raise ConfigError(f"{where}: it sends by the write queue, which is off", hint="leave S3D_WRITE_QUEUE=false out")
    used: list[Path] = [settings.gateway.local_dir, settings.queue_dir, settings.cache_dir]
    if settings.fuse_mount.enabled and settings.fuse_mount.dir is not None:
        used.append(settings.fuse_mount.dir)
    for own in used:
        if is_nested(said.dir.resolve(), own.resolve()):
            raise ConfigError(
                f"{where}{'_DIR' if is_first else ''}: {said.dir} and {own}, which is s3d's own, are one in the other",
                hint="give the folder a directory of its own",
            )


def is_nested(one: PurePath, other: PurePath) -> bool:
    """Whether two directories are the same, or one is in the other, by their paths alone."""
    return one.is_relative_to(other) or other.is_relative_to(one)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
