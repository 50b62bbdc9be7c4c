"""What is judged before the acknowledgement, as the remote would judge it later (SEMANTICS Q-15). Pure."""

from collections.abc import Mapping

from s3d.errors import S3Error
from s3d.layers.queue.rules import tags
from s3d.protocol.headers import METADATA, TAGGING

MAX_PUT = 5 << 30
MAX_KEY_LENGTH = 1024
"""In bytes of UTF-8."""
MAX_PARTS = 10_000
MAX_METADATA = 2048
"""In bytes, names and values together."""
MAX_HEADER_BYTES = 7 << 10
"""In bytes, names and values together, of what is kept of a request: S3 takes 8 KB, and a push adds some of its own."""


def broken(key: str, size: int, members: Mapping[str, str]) -> S3Error | None:
    """The error that S3 would answer; None where all is within its limits."""
    try:
        check(key, size, members)
    except S3Error as error:
        return error
    return None


def check(key: str, size: int, members: Mapping[str, str]) -> None:
    """Refuse what the remote would refuse later, while the client is there."""
    if len(key.encode()) > MAX_KEY_LENGTH:
        raise S3Error("KeyTooLongError", "Your key is too long", details={"MaxSizeAllowed": str(MAX_KEY_LENGTH)})
    if size > MAX_PUT:
        raise too_large(size)
    headers = metadata = 0
    for name, value in members.items():
        length = len(name) + len(value.encode(errors="surrogateescape"))
        headers += length
        if name.startswith(METADATA):
            metadata += length - len(METADATA)
    if metadata > MAX_METADATA:
        raise S3Error(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            details={"Size": str(metadata), "MaxSizeAllowed": str(MAX_METADATA)},
        )
    if headers > MAX_HEADER_BYTES:
        raise S3Error(
            "RequestHeaderSectionTooLarge",
            "Your request header and query parameters used to make the request exceed the maximum allowed size",
            details={"MaxSizeAllowed": "8192"},
        )
    if TAGGING in members:
        tags.check(tags.of_header(members[TAGGING]))


def no_length() -> S3Error:
    """The answer to a body whose length nobody has said."""
    return S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)


def too_large(size: int, most: int = MAX_PUT) -> S3Error:
    """The answer to what is larger than S3 takes, in bytes."""
    return S3Error(
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size",
        details={"ProposedSize": str(size), "MaxSizeAllowed": str(most)},
    )


def check_part_number(number: int) -> None:
    """Refuse the number of a part that no upload can have, whether it is written or read."""
    if not 1 <= number <= MAX_PARTS:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive",
            details={"ArgumentName": "partNumber", "ArgumentValue": str(number)},
        )
