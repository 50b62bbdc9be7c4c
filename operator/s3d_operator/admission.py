"""What the API server gets to hear about an S3Gateway or a SyncFolder that somebody writes: no daemon starts with it,
or it is let in.

The schema of the definition has judged it before. This is about what no schema can say, such as where a filter cannot
be read. Pure: it reads with the module that makes pods, so that what is let in here can be used there.

Two things are let in nevertheless. What is wrong in the same way as before: the owner of one from before this
check, or of another release, must be able to label and to delete it. And fields that this release does not know: the
definition is a newer one's then, and its own webhook judges them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from s3d.errors import ConfigError
from s3d_operator import folders, gateway_checks
from s3d_operator.parse import said_of
from s3d_operator.spec import S3GatewaySpec, SyncFolderSpec

Object = dict[str, Any]


def problem_of(gateway: Object) -> str:
    """Why no daemon would start with a gateway's spec: field, position, and what to do; "" where one would."""
    try:
        gateway_checks.check(S3GatewaySpec.model_validate(gateway.get("spec") or {}, extra="ignore"))
    except ValidationError as error:
        return said_of(error.errors())
    except ConfigError as error:
        return f"{error.message} ({error.hint})"
    return ""


def problem_of_folder(folder: Object) -> str:
    """Why no daemon would start with a sync folder's spec; "" where one would."""
    try:
        folders.check(SyncFolderSpec.model_validate(folder.get("spec") or {}, extra="ignore"))
    except ValidationError as error:
        return said_of(error.errors())
    except ConfigError as error:
        return f"{error.message} ({error.hint})"
    return ""


PROBLEM_OF: Mapping[str, Callable[[Object], str]] = {"S3Gateway": problem_of, "SyncFolder": problem_of_folder}
"""What judges a spec, by its kind."""


def verdict_of(kind: str, written: Object, before: Object | None) -> Object:
    """The `response` of a review, without its uid; `before` is the object as it was, None for a new one."""
    judge = PROBLEM_OF[kind]
    problem = judge(written)
    if not problem or (before is not None and judge(before) == problem):
        return {"allowed": True}
    return {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": f"s3d: {problem}"}}
