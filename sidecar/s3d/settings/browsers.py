"""Pages that use the gateway, by one CORS rule for all buckets."""

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, field_validator

from s3d.settings.section import Section, setting
from s3d.settings.values import Duration, Names, parse_list

Method = Literal["GET", "HEAD", "PUT", "POST", "DELETE"]
"""A method that a CORS rule may name."""


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
