"""The S3 store behind the gateway."""

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from s3d.settings.section import Section, setting
from s3d.settings.values import Duration, Names, check_http_url


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
