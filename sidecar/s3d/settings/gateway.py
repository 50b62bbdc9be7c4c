"""The daemon itself: its doors, its local dir, its start and its end, its log."""

import os
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from s3d.settings.section import Section, setting
from s3d.settings.values import Bytes, Duration, Names, check_http_url


def local_dir() -> Path:
    """The default local dir: XDG's place for state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "s3d"


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
