"""What is judged before the acknowledgement, as the remote would judge it later (SEMANTICS Q-15). Pure."""

from collections.abc import Mapping

from s3d.errors import S3Error
from s3d.layers.queue.rules import tags, understood

LARGEST_PUT = 5 << 30
LONGEST_KEY = 1024
"""In bytes of UTF-8."""
MOST_METADATA = 2048
"""In bytes, names and values together."""
MOST_PARTS = 10_000


def check(key: str, size: int, members: Mapping[str, str]) -> None:
    """Refuse what the remote would refuse later, while the client is there."""
    if len(key.encode()) > LONGEST_KEY:
        raise S3Error("KeyTooLongError", "Your key is too long", details={"MaxSizeAllowed": str(LONGEST_KEY)})
    if size > LARGEST_PUT:
        raise S3Error(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            details={"ProposedSize": str(size), "MaxSizeAllowed": str(LARGEST_PUT)},
        )
    prefix = len(understood.METADATA)
    metadata = sum(
        len(name) - prefix + len(value.encode(errors="surrogateescape"))
        for name, value in members.items()
        if name.startswith(understood.METADATA)
    )
    if metadata > MOST_METADATA:
        raise S3Error(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            details={"Size": str(metadata), "MaxSizeAllowed": str(MOST_METADATA)},
        )
    if tags.TAGGING in members:
        tags.check(tags.of_header(members[tags.TAGGING]))


def check_part_number(number: int) -> None:
    """Refuse the number of a part that no upload can have, whether it is written or read."""
    if not 1 <= number <= MOST_PARTS:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive",
            details={"ArgumentName": "partNumber", "ArgumentValue": str(number)},
        )
