"""The settings: one frozen section per part, with the help of each field.

`--help`, the CRD and docs/settings.md come from the fields below; config.py reads them. No secret is ever kept here:
credentials are found by the AWS credential chain.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, WithJsonSchema, field_validator
from pydantic.fields import FieldInfo

from s3d.filters import grammar
from s3d.filters.rule import Rules

UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
UNITS |= {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
SECONDS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_BYTES = 1 << 62


def parse_bytes(value: object) -> object:
    """Turn `10Gi`, `512M` or `1000` into a number of bytes (Kubernetes' quantity suffixes)."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?|[KMGT]i)B?", value.strip())
        if not match:
            raise ValueError(f"{value!r} is not a size; write for example 512Mi or 10Gi")
        size = float(match[1]) * UNITS[match[2]]
        if size > MAX_BYTES:
            raise ValueError("there is no disk of this size")
        return int(size)
    return value


def parse_duration(value: object) -> object:
    """Turn `30s`, `500ms`, `5m`, `24h` or a bare number of seconds into seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", value.strip())
        if not match:
            raise ValueError(f"{value!r} is not a duration; write for example 500ms, 30s or 24h")
        return float(match[1]) * SECONDS[match[2]]
    return value


def parse_list(value: object) -> object:
    """Turn `a, b` into a tuple of names."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def parse_filter(value: object) -> object:
    """Turn a text with commas, or a list with a rule in each entry, into rules. Raises FilterError."""
    if isinstance(value, str):
        return grammar.parse(value)
    if isinstance(value, list | tuple) and all(isinstance(rule, str) for rule in value):
        return grammar.parse(value)
    if isinstance(value, Rules):
        return value
    raise ValueError("a filter is a text, or a list of texts")


Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0), WithJsonSchema({"x-kubernetes-int-or-string": True})]
Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
Names = Annotated[tuple[str, ...], BeforeValidator(parse_list)]
Filter = Annotated[
    InstanceOf[Rules], BeforeValidator(parse_filter), WithJsonSchema({"type": "array", "items": {"type": "string"}})
]
Method = Literal["GET", "HEAD", "PUT", "POST", "DELETE"]
"""A method that a CORS rule may name."""


def setting(name: str, default: Any, help_text: str, *, reloads: bool = False, **constraints: Any) -> Any:
    """Declare a field that is set by the variable `name`; `help_text` is its documentation everywhere.

    With `reloads` everybody who uses it looks at it each time, so that `reload` may change it.
    """
    extra: dict[str, Any] = {"setting": name, "reloads": reloads}
    if callable(default):
        return Field(default_factory=default, description=help_text, json_schema_extra=extra, **constraints)
    return Field(default=default, description=help_text, json_schema_extra=extra, **constraints)


class Section(BaseModel):
    """The settings of one part. Only `reload` ever changes them."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    title: ClassVar[str]


def local_dir() -> Path:
    """The default local dir: XDG's place for state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "s3d"


def check_http_url(value: str) -> str:
    """Refuse what is not `http(s)://host[:port]`. What is refused is not shown: it may hold a password."""
    if "@" in value:
        raise ValueError("a URL with a user or a password is not taken; keys come from the AWS credential chain")
    try:
        parts = urlsplit(value)
        is_valid = parts.port is None or parts.port >= 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("it is not a URL such as http://127.0.0.1:9000")
    return value.rstrip("/")


class Gateway(Section):
    """The daemon itself."""

    title = "The daemon"
    local_dir: Path = setting(
        "S3D_LOCAL_DIR", local_dir, "Directory that s3d owns. It holds everything that must survive a crash."
    )
    volume_size: Bytes = setting(
        "S3D_VOLUME_SIZE",
        0,
        "Size of the volume that holds the local dir. The queue's limit must stay 512Mi below. 0: no check.",
    )
    config_dir: Path | None = setting(
        "S3D_CONFIG_DIR",
        None,
        "Directory with a settings.json that s3d polls every 2 s. Reloadable settings found there take effect at run "
        "time and override the start-up values.",
    )
    endpoint: str = setting(
        "S3D_ENDPOINT",
        "http://localhost:33333",
        "URL at which s3d serves S3 and at which the CLI finds it; https:// with S3D_TLS_CERT and S3D_TLS_KEY.",
    )
    tls_cert: Path | None = setting(
        "S3D_TLS_CERT",
        None,
        "PEM file with the certificate of the S3 door, then those between it and its CA. s3d takes it over when it "
        "changes, as it does with the key and the client CA.",
    )
    tls_key: Path | None = setting(
        "S3D_TLS_KEY",
        None,
        "PEM file with the private key of S3D_TLS_CERT, without a password. Only its owner may read it, or a group "
        "too where root owns it.",
    )
    tls_client_ca: Path | None = setting(
        "S3D_TLS_CLIENT_CA",
        None,
        "PEM file with certificates of CAs. Clients then have to show a certificate that one of these has signed.",
    )
    tls_client_cert: Path | None = setting(
        "S3D_TLS_CLIENT_CERT",
        None,
        "PEM file with the certificate that the commands show the S3 door, then those between it and its CA. The "
        "daemon does not use it.",
    )
    tls_client_key: Path | None = setting(
        "S3D_TLS_CLIENT_KEY",
        None,
        "PEM file with the private key of S3D_TLS_CLIENT_CERT, without a password. Unset: it is in the same file.",
    )
    tls_ca: Path | None = setting(
        "S3D_TLS_CA",
        None,
        "PEM file with certificates of CAs, by which commands such as `s3d ls` judge the certificate of the S3 door. "
        "Unset: AWS_CA_BUNDLE, then SSL_CERT_FILE, then the system.",
    )
    metrics_endpoint: str = setting(
        "S3D_METRICS_ENDPOINT",
        "http://127.0.0.1:33334",
        "URL at which s3d serves /healthz, /readyz, /metrics, /status and a page of counts.",
    )
    insecure: bool = setting(
        "S3D_INSECURE",
        False,
        "Allow S3D_ENDPOINT to be an address that other machines reach while there are no access keys.",
    )
    access_keys_file: Path | None = setting(
        "S3D_ACCESS_KEYS_FILE",
        None,
        "File with the access keys that clients sign with, read again when it changes. Requests that none of them "
        "signs are refused. Unset: everyone who reaches S3D_ENDPOINT acts with the gateway's keys.",
    )
    app_credentials_file: Path | None = setting(
        "S3D_APP_CREDENTIALS_FILE",
        None,
        "File of AWS shared credentials for applications. s3d writes it at its start, with an access key that it "
        "makes; where the file is there, it takes the key in it. The key holds beside those of S3D_ACCESS_KEYS_FILE. "
        "Who may enter the directory of the file can read it.",
    )
    domains: Names = setting(
        "S3D_DOMAINS",
        ("localhost",),
        "Host names of the S3 endpoint. BUCKET.NAME addresses a bucket (virtual-host style).",
    )
    admin_api: bool = setting(
        "S3D_ADMIN_API",
        False,
        "Forward requests that administer the remote: MinIO's under /minio/, Ceph's under /admin/, versitygw's PATCH, "
        "what is posted to the root. Whoever reaches S3D_ENDPOINT then administers it with the gateway's keys.",
    )
    client_timeout: Duration = setting(
        "S3D_CLIENT_TIMEOUT",
        20.0,
        "How long the body of a request may keep s3d waiting, then 400 RequestTimeout; each KiB that comes gives a "
        "second back.",
        gt=0,
    )
    reader_timeout: Duration = setting(
        "S3D_READER_TIMEOUT",
        60.0,
        "How long a client may leave an answer unread, then its connection is closed; each KiB that it takes gives a "
        "second back.",
        gt=0,
    )
    barrier_timeout: Duration = setting(
        "S3D_BARRIER_TIMEOUT",
        25.0,
        "How long a request waits for the pending changes that it depends on. Then it is answered 503 SlowDown.",
    )
    drain: Duration = setting(
        "S3D_DRAIN_SECONDS",
        20.0,
        "How long s3d goes on delivering after SIGTERM. Changes left after that stay on disk (exit code 75).",
    )
    deadline: Duration = setting(
        "S3D_DEADLINE_SECONDS",
        0.0,
        "The drain ends at the latest this long after `s3d prestop` was called. 0 sets no limit.",
    )
    lock_wait: Duration = setting(
        "S3D_LOCK_WAIT", 0.0, "How long a start waits for another s3d that still uses the local dir."
    )
    termination_log: Path | None = setting(
        "S3D_TERMINATION_LOG",
        None,
        "File (a pod's termination log) to which s3d writes at exit, as JSON, what is left undelivered.",
    )
    log_format: Literal["auto", "text", "json"] = setting(
        "S3D_LOG_FORMAT", "auto", "Format of log lines: text, json, or auto (text on a terminal, JSON elsewhere)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "S3D_LOG_LEVEL", "info", "Lowest level that is logged.", reloads=True
    )
    access_log: Literal["off", "errors", "all"] = setting(
        "S3D_ACCESS_LOG",
        "off",
        "Requests that get a line in the log: none, those with a status of 400 or more, or all.",
        reloads=True,
    )

    _check_urls = field_validator("endpoint", "metrics_endpoint")(check_http_url)


class Remote(Section):
    """The S3 store behind the gateway."""

    title = "The remote"
    endpoint: str | None = setting(
        "S3_ENDPOINT", None, "URL of the remote S3 store. Unset: AWS S3 in the region.", validate_default=False
    )
    region: str | None = setting(
        "AWS_REGION",
        None,
        "Region for which requests are signed. Unset: AWS_DEFAULT_REGION, then the profile, then us-east-1.",
    )
    addressing: Literal["auto", "path", "virtual"] = setting(
        "S3D_ADDRESSING",
        "auto",
        "How requests to the remote name the bucket: in the path, in the host name (virtual), or auto: path if "
        "S3_ENDPOINT is set, virtual otherwise.",
    )
    checksums: Literal["when_supported", "when_required"] = setting(
        "S3D_CHECKSUMS",
        "when_supported",
        "when_required is for a remote that refuses trailing checksums: s3d verifies them and does not forward them.",
    )
    credentials_dir: Path | None = setting(
        "S3D_CREDENTIALS_DIR",
        None,
        "Directory with the files accessKeyID, secretAccessKey and (optional) sessionToken. s3d reads them again when "
        "they change. Unset: the AWS credential chain.",
    )
    identities_file: Path | None = setting(
        "S3D_REMOTE_IDENTITIES_FILE",
        None,
        "JSON file with the identities for which access keys may stand: a list of objects with a name and one source "
        "of keys (profile, accessKeyID and secretAccessKey, credentialsDir, or roleARN). s3d reads it again when it "
        "changes. Unset: all act as the gateway.",
    )
    anonymous: bool = setting("S3D_ANONYMOUS", False, "Send unsigned requests, for a remote that needs no keys.")
    buckets: Names = setting(
        "S3D_BUCKETS",
        (),
        "Buckets that s3d assumes to exist, to be writable and unversioned until the remote says otherwise. Writes to "
        "them are accepted even if the remote was never reached.",
    )
    away_after: Duration = setting(
        "S3D_AWAY_AFTER",
        5.0,
        "Response timeout, counted from the last byte sent. After three in a row the remote is considered away.",
    )
    request_timeout: Duration = setting(
        "S3D_REQUEST_TIMEOUT", 120.0, "How long a request to the remote may make no progress before it is given up."
    )

    @field_validator("endpoint")
    @classmethod
    def check_endpoint(cls, value: str | None) -> str | None:
        """Refuse what is not a URL; an empty value is an unset one."""
        return check_http_url(value) if value else None


class Browsers(Section):
    """Pages that use the gateway."""

    title = "Browsers"
    origins: Names = setting(
        "S3D_CORS_ORIGINS",
        (),
        "Origins whose pages may use every bucket, such as https://app.example or https://*.example; * lets in all. "
        "Unset: the CORS rules of each bucket, as the remote has them.",
    )
    methods: Annotated[tuple[Method, ...], BeforeValidator(parse_list)] = setting(
        "S3D_CORS_METHODS", get_args(Method), "Methods that pages of S3D_CORS_ORIGINS may use."
    )
    headers: Names = setting(
        "S3D_CORS_HEADERS", ("*",), "Headers that their requests may have, such as x-amz-*; * lets pass all."
    )
    expose: Names = setting(
        "S3D_CORS_EXPOSE",
        (
            "ETag",
            "Content-Range",
            "Retry-After",
            "x-amz-request-id",
            "x-amz-version-id",
            "x-s3d-durability",
        ),
        "Headers of an answer that their scripts may read.",
    )
    max_age: Duration = setting(
        "S3D_CORS_MAX_AGE", 3600.0, "How long their browsers may remember that a request is allowed."
    )

    @field_validator("origins", "headers")
    @classmethod
    def check_wildcards(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse what no rule of S3's may hold."""
        for pattern in value:
            if pattern.count("*") > 1:
                raise ValueError(f"{pattern!r} has more than one *")
        return value


class WriteQueue(Section):
    """The durable write queue."""

    title = "The write queue"
    enabled: bool = setting("S3D_WRITE_QUEUE", True, "Accept writes durably and deliver them in the background.")
    dir: Path | None = setting("S3D_WRITE_QUEUE_DIR", None, "Directory of the queue. Unset: LOCAL_DIR/queue.")
    max_size: Bytes = setting(
        "S3D_WRITE_QUEUE_MAX_SIZE",
        "10Gi",
        "Bytes of the disk that the queue may take: pending bodies, parts of uploads, what is kept for a while after "
        "its delivery, and every row with its headers.",
        reloads=True,
    )
    max_files: int = setting(
        "S3D_WRITE_QUEUE_MAX_FILES",
        1_000_000,
        "Most changes, parts and open uploads that may be pending.",
        reloads=True,
        ge=1,
    )
    max_age: Duration = setting(
        "S3D_WRITE_QUEUE_MAX_AGE",
        0.0,
        "Accept no new writes while the oldest change on its way is older than this. Parked and held ones do not "
        "count. 0 disables the limit.",
        reloads=True,
    )
    ballast: Bytes = setting(
        "S3D_WRITE_QUEUE_BALLAST",
        "16Mi",
        "Disk space reserved for the drain. New writes are refused before it is used up.",
    )
    wait: Duration = setting(
        "S3D_WRITE_QUEUE_WAIT",
        30.0,
        "How long a write waits while the queue is full. Then it is answered 503 SlowDown.",
        reloads=True,
    )
    delay: Duration = setting(
        "S3D_WRITE_QUEUE_DELAY",
        0.0,
        "How long a change waits before its first push. A change that is overwritten in that time is never pushed.",
        reloads=True,
    )
    versioned: Literal["WriteThrough", "Queue"] = setting(
        "S3D_WRITE_QUEUE_VERSIONED",
        "WriteThrough",
        "Writes to versioned or locked buckets. WriteThrough sends them to the remote at once, so that the client gets "
        "its version id. Queue accepts them here and pushes each in order.",
    )
    unverified_writes: Literal["Accept", "Reject"] = setting(
        "S3D_WRITE_QUEUE_UNVERIFIED_WRITES",
        "Accept",
        "In an outage, writes of a kind that the remote never accepted: Accept queues them, Reject answers 503.",
        reloads=True,
    )
    conflict: Literal["Overwrite", "Park"] = setting(
        "S3D_WRITE_QUEUE_CONFLICT",
        "Overwrite",
        "If another writer changed a key while our change of it waited: Overwrite pushes ours and logs a warning, Park "
        "keeps both until a person decides.",
        reloads=True,
    )
    conflict_check_after: Duration = setting(
        "S3D_WRITE_QUEUE_CONFLICT_CHECK_AFTER",
        5.0,
        "A change that has waited longer than this is pushed only after a check for other writers of its key.",
        reloads=True,
    )
    late_write_window: Duration = setting(
        "S3D_WRITE_QUEUE_LATE_WRITE_WINDOW",
        900.0,
        "How long a delivered change is retained if an earlier attempt timed out. If that attempt arrives late, the "
        "change is pushed again.",
        reloads=True,
    )
    max_upload_age: Duration = setting(
        "S3D_WRITE_QUEUE_MAX_UPLOAD_AGE",
        86400.0,
        "An open multipart upload is dropped if it gets no new part for this long.",
        reloads=True,
    )
    max_uploads: int = setting(
        "S3D_WRITE_QUEUE_MAX_UPLOADS",
        10_000,
        "Multipart uploads that may be open at once; one more gets 503 SlowDown.",
        reloads=True,
        ge=1,
    )
    filter: Filter = setting(
        "S3D_WRITE_QUEUE_FILTER",
        "",
        "Rules that say which writes are queued (docs/FILTERS.md). The others are written through: their clients wait "
        "for the remote. Empty: all writes are queued.",
        reloads=True,
    )
    push_filter: Filter = setting(
        "S3D_WRITE_QUEUE_PUSH_FILTER",
        "",
        "Rules that say which changes are pushed to the remote (docs/FILTERS.md). The others stay here, held, and are "
        "judged anew when rules or tags change. Empty: all are pushed, but what a tag s3d.upload holds.",
        reloads=True,
    )
    workers: int = setting(
        "S3D_WRITE_QUEUE_WORKERS", 16, "How many changes are pushed at the same time.", ge=1, le=1024
    )


class ReadCache(Section):
    """The read cache."""

    title = "The read cache"
    enabled: bool = setting("S3D_READ_CACHE", False, "Keep what was read, so that it is not fetched again.")
    dir: Path | None = setting("S3D_READ_CACHE_DIR", None, "Directory of the cache. Unset: LOCAL_DIR/cache.")
    filter: Filter = setting(
        "S3D_READ_CACHE_FILTER",
        "",
        "Rules that say which objects are cached (docs/FILTERS.md). Of the others nothing is kept. Empty: all, but "
        "those that a tag s3d.cache=false leaves out.",
        reloads=True,
    )
    max_size: Bytes = setting(
        "S3D_READ_CACHE_MAX_SIZE",
        "10Gi",
        "Bytes of the disk that the cache may take. What was not read for the longest time goes first.",
        reloads=True,
    )
    max_files: int = setting(
        "S3D_READ_CACHE_MAX_FILES", 100_000, "Most objects that may be cached.", reloads=True, ge=1
    )
    max_age: Duration = setting(
        "S3D_READ_CACHE_MAX_AGE",
        0.0,
        "An object that was not read for this long is dropped. 0 disables the limit.",
        reloads=True,
    )
    fresh_for: Duration = setting(
        "S3D_READ_CACHE_FRESH_FOR",
        0.0,
        "How long after an answer of the remote an object is answered from the cache without asking whether it is the "
        "newest version, to the identity that got the answer. 0: the remote is asked each time, by a HEAD.",
        reloads=True,
    )
    max_stale: Duration = setting(
        "S3D_READ_CACHE_MAX_STALE",
        86400.0,
        "How old the last answer of the remote to the same identity may be while the remote is away or in trouble, and "
        "a cached object is answered without it, marked `x-cache: STALE`. 0: never.",
        reloads=True,
    )
    max_names: int = setting(
        "S3D_READ_CACHE_MAX_NAMES",
        100_000,
        "Most names of objects that are remembered for listings, and most HEADs, for the time in which the remote is "
        "away. What was used least recently goes first.",
        reloads=True,
        ge=0,
    )
    pin_rate: Bytes = setting(
        "S3D_READ_CACHE_PIN_RATE",
        "50Mi",
        "Bytes a second, on average, that are fetched of objects with the tag s3d.cache=pin before anybody reads them.",
        reloads=True,
        ge=1,
    )
    validate_timeout: Duration = setting(
        "S3D_READ_CACHE_VALIDATE_TIMEOUT",
        1.0,
        "How long a read waits for the remote to say whether a cached object is the newest version, where it may be "
        "answered without that.",
        reloads=True,
        gt=0,
    )


class SyncFolder(Section):
    """The sync folder."""

    title = "The sync folder"
    enabled: bool = setting(
        "S3D_SYNC_FOLDER", False, "Keep a folder and a prefix of a bucket equal, both ways (docs/SYNC.md)."
    )
    dir: Path | None = setting(
        "S3D_SYNC_FOLDER_DIR", None, "The folder. s3d makes `.s3d` in it, for its trash and for what it downloads."
    )
    bucket: str = setting("S3D_SYNC_FOLDER_BUCKET", "", "The bucket.")
    prefix: str = setting(
        "S3D_SYNC_FOLDER_PREFIX", "", "What the keys of the folder's files begin with, with a slash at its end."
    )
    direction: Literal["Bidirectional", "Push", "Pull"] = setting(
        "S3D_SYNC_FOLDER_DIRECTION",
        "Bidirectional",
        "Which side follows the other. Push: the remote follows the folder, and what others wrote there is kept in the "
        "trash. Pull: the folder follows the remote, and what was changed in it becomes a conflict copy.",
    )
    filter: Filter = setting(
        "S3D_SYNC_FOLDER_FILTER",
        "",
        "Which files are synced, by bucket, key and content-length (docs/FILTERS.md). What it leaves out is left alone "
        "on both sides.",
    )
    max_size: Bytes = setting(
        "S3D_SYNC_FOLDER_MAX_SIZE", 0, "Files and objects that are larger are left alone on both sides. 0: none."
    )
    poll: Duration = setting(
        "S3D_SYNC_FOLDER_POLL", 10.0, "How long after a look at both sides the next one begins.", gt=0
    )
    stable_for: Duration = setting(
        "S3D_SYNC_FOLDER_STABLE_FOR",
        1.0,
        "A file is read when nobody has changed it for this long: 100ms at least, since file systems tell no shorter "
        "times from one another.",
        ge=0.1,
    )
    max_delete: float = setting(
        "S3D_SYNC_FOLDER_MAX_DELETE",
        0.5,
        "The share of the files beyond which deletes in one look halt the folder, until a person says that they are "
        "meant. Ten files never halt it, unless they are all.",
        ge=0,
        le=1,
    )
    max_delete_files: int = setting("S3D_SYNC_FOLDER_MAX_DELETE_FILES", 1000, "The same as a number of files.", ge=0)
    trash_for: Duration = setting(
        "S3D_SYNC_FOLDER_TRASH_FOR",
        "7d",
        "How long what was replaced or deleted in the folder, since it was at the remote, is kept in `.s3d/trash`.",
    )

    @field_validator("prefix")
    @classmethod
    def check_prefix(cls, value: str) -> str:
        """Refuse a prefix that is no place for paths."""
        if value and (not value.endswith("/") or value.startswith("/") or "//" in value):
            raise ValueError("it is not the path of a folder in a bucket, such as team/docs/")
        return value


class Opa(Section):
    """The policy that is asked what may leave, and what the read cache may keep."""

    title = "Open Policy Agent"
    url: str | None = setting(
        "S3D_OPA_URL",
        None,
        "URL of an Open Policy Agent, http(s)://HOST:PORT or unix:///PATH, that is asked before a change is pushed "
        "(docs/POLICY.md). Unset: nobody is asked.",
        reloads=True,
        validate_default=False,
    )
    path: str = setting(
        "S3D_OPA_PATH",
        "s3d/allow",
        "Path of the rule that is asked, below /v1/data/. Its value is true or false; anything else is no decision.",
        reloads=True,
    )
    timeout: Duration = setting(
        "S3D_OPA_TIMEOUT", 0.5, "How long an answer may take. Then there is no decision.", reloads=True, gt=0
    )
    fail_upload: Literal["closed", "open"] = setting(
        "S3D_OPA_FAIL_UPLOAD",
        "closed",
        "What becomes of a change of which there is no decision: closed holds it and asks again, open pushes it.",
        reloads=True,
    )
    cache_path: str | None = setting(
        "S3D_OPA_CACHE_PATH",
        None,
        "Path of the rule that is asked what the read cache may keep, below /v1/data/, such as s3d/cache. Unset: "
        "nobody is asked about that.",
        reloads=True,
    )
    fail_cache: Literal["open", "closed"] = setting(
        "S3D_OPA_FAIL_CACHE",
        "open",
        "What the read cache does with an object of which there is no decision: open keeps it and answers from it, "
        "closed does neither, and what is there already stays for a decision.",
        reloads=True,
    )
    ca: Path | None = setting(
        "S3D_OPA_CA",
        None,
        "PEM file with the CAs that OPA's certificate is judged by, read again when it changes. Unset: the system's.",
    )
    token_file: Path | None = setting(
        "S3D_OPA_TOKEN_FILE",
        None,
        "File with the bearer token that OPA is shown, read again when it changes. Only its owner may read it, or a "
        "group too where root owns it.",
    )

    @field_validator("url")
    @classmethod
    def check_url(cls, value: str | None) -> str | None:
        """Refuse what is no URL that can be asked; an empty value is an unset one."""
        if not value:
            return None
        if value.startswith("unix:"):
            if not re.fullmatch(r"unix://(/[^/?#]+)+", value):
                raise ValueError("it is not the path of a socket, such as unix:///run/opa.sock")
            return value
        return check_http_url(value)

    @field_validator("path")
    @classmethod
    def check_path(cls, value: str) -> str:
        """Refuse what is no path of a rule."""
        if not re.fullmatch(r"[A-Za-z_][\w-]*(/[A-Za-z_][\w-]*)*", value, re.ASCII):
            raise ValueError("it is not the path of a rule, such as s3d/allow")
        return value

    @field_validator("cache_path")
    @classmethod
    def check_cache_path(cls, value: str | None) -> str | None:
        """The same of the rule for the read cache; an empty value is an unset one."""
        return cls.check_path(value) if value else None


class Telemetry(Section):
    """What a collector is sent."""

    title = "OpenTelemetry"
    endpoint: str | None = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "URL of a collector that takes OTLP over HTTP, such as http://collector:4318 (docs/TELEMETRY.md). Unset: "
        "nothing is recorded or sent.",
        validate_default=False,
    )
    traces: Literal["otlp", "none"] = setting("OTEL_TRACES_EXPORTER", "otlp", "Whether it is sent traces.")
    metrics: Literal["otlp", "none"] = setting("OTEL_METRICS_EXPORTER", "otlp", "Whether it is sent the metrics.")
    logs: Literal["otlp", "none"] = setting(
        "OTEL_LOGS_EXPORTER", "none", "Whether it is sent the log, too, whose entries name keys of objects."
    )
    sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = setting(
        "OTEL_TRACES_SAMPLER",
        "parentbased_traceidratio",
        "Which requests are recorded: all, none or a share; with parentbased_ those whose traceparent says so, and of "
        "those without one all, none or a share.",
    )
    sampler_arg: float = setting("OTEL_TRACES_SAMPLER_ARG", 0.01, "The share of ...traceidratio.", ge=0, le=1)
    metric_interval: int = setting(
        "OTEL_METRIC_EXPORT_INTERVAL", 60_000, "Milliseconds between two readings of the metrics.", ge=100
    )
    headers_file: Path | None = setting(
        "S3D_OTEL_HEADERS_FILE",
        None,
        "File with headers for the collector, such as a token: NAME=VALUE, a line each. Only its owner may read it, or "
        "a group too where root owns it.",
    )
    keys: bool = setting("S3D_OTEL_KEYS", False, "Name the keys of objects in spans.")

    @field_validator("endpoint")
    @classmethod
    def check_endpoint(cls, value: str | None) -> str | None:
        """Refuse what is not a URL; an empty value is an unset one."""
        return check_http_url(value) if value else None


class FuseMount(Section):
    """Buckets and objects as files."""

    title = "The mount"
    enabled: bool = setting(
        "S3D_FUSE_MOUNT", False, "Mount the buckets as directories (docs/MOUNT.md). It takes `pip install 's3d[fuse]'`."
    )
    dir: Path | None = setting(
        "S3D_FUSE_MOUNT_DIR",
        None,
        "Empty directory on which the buckets are mounted. It is made where it is missing, and nothing that s3d uses "
        "may lie below it.",
    )
    read_only: bool = setting("S3D_FUSE_MOUNT_READ_ONLY", False, "Let nothing be changed by the mount.")
    allow_other: bool = setting(
        "S3D_FUSE_MOUNT_ALLOW_OTHER",
        False,
        "Let other users than that of s3d use the mount. Unless s3d runs as root, /etc/fuse.conf has to say "
        "user_allow_other.",
    )
    uid: int | None = setting("S3D_FUSE_MOUNT_UID", None, "Number of the user who owns all files. Unset: that of s3d.")
    gid: int | None = setting("S3D_FUSE_MOUNT_GID", None, "Number of the group of all files. Unset: that of s3d.")
    max_size: Bytes = setting(
        "S3D_FUSE_MOUNT_MAX_SIZE",
        "10Gi",
        "Bytes of files that are being written, in LOCAL_DIR/mount. Beyond it a write gets ENOSPC.",
    )
    publish_after: Duration = setting(
        "S3D_FUSE_MOUNT_PUBLISH_AFTER",
        60.0,
        "How long after an fsync a file that stays open becomes an object at the latest.",
    )
    max_rename: int = setting(
        "S3D_FUSE_MOUNT_MAX_RENAME",
        1000,
        "Most objects of a directory that is renamed. One of more gets EXDEV, and programs such as mv copy it.",
        ge=0,
    )

    @property
    def owner(self) -> tuple[int, int]:
        """User and group of all files."""
        return os.getuid() if self.uid is None else self.uid, os.getgid() if self.gid is None else self.gid


class Settings(Section):
    """All settings."""

    title = "Settings"
    gateway: Gateway = Field(default_factory=Gateway)
    remote: Remote = Field(default_factory=Remote)
    browsers: Browsers = Field(default_factory=Browsers)
    write_queue: WriteQueue = Field(default_factory=WriteQueue)
    read_cache: ReadCache = Field(default_factory=ReadCache)
    sync_folder: SyncFolder = Field(default_factory=SyncFolder)
    opa: Opa = Field(default_factory=Opa)
    telemetry: Telemetry = Field(default_factory=Telemetry)
    fuse_mount: FuseMount = Field(default_factory=FuseMount)

    @property
    def queue_dir(self) -> Path:
        """Where the write queue keeps its table and its bodies."""
        return self.write_queue.dir or self.gateway.local_dir / "queue"

    @property
    def cache_dir(self) -> Path:
        """Where the read cache keeps its index and its blocks."""
        return self.read_cache.dir or self.gateway.local_dir / "cache"

    @property
    def sync_dir(self) -> Path:
        """Where the sync folder keeps what both sides had last."""
        return self.gateway.local_dir / "sync"

    @property
    def stage_dir(self) -> Path:
        """Where the mount keeps what is being written."""
        return self.gateway.local_dir / "mount"


SECTIONS: tuple[tuple[str, type[Section]], ...] = (
    ("gateway", Gateway),
    ("remote", Remote),
    ("browsers", Browsers),
    ("write_queue", WriteQueue),
    ("read_cache", ReadCache),
    ("sync_folder", SyncFolder),
    ("opa", Opa),
    ("telemetry", Telemetry),
    ("fuse_mount", FuseMount),
)


def setting_name(field: FieldInfo) -> str:
    """The variable that sets a field."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict):
        raise TypeError("a field of a section is declared with setting()")
    return str(extra["setting"])


def known_settings() -> Iterator[tuple[str, str, str, FieldInfo]]:
    """Yield (variable, section, field name, field) of every setting."""
    for section, model in SECTIONS:
        for name, field in model.model_fields.items():
            yield setting_name(field), section, name, field


def reloadable() -> frozenset[str]:
    """The variables of the settings that `reload` may change."""
    return frozenset(variable for variable, _, _, field in known_settings() if reloads(field))


def reloads(field: FieldInfo) -> bool:
    """Whether a setting may change while the daemon runs."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra["reloads"])
