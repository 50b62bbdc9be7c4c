"""Answers of what stands between a gateway and its store, or of the store itself in trouble: ANSWERS, and below it the
exceptions.

The rule is short. *A push* that gets such an answer is not lost: when the store answers again, the change arrives, by
itself (Q-3a, Q-8a, Q-22). *A request that goes through* never learns of a success that the store did not give; an S3
error passes as it came, and a success that is none is a 503.

Each kind of request has one gateway, in which each answer has a bucket of its own, so that all go side by side.
"""

import contextlib
import os
from collections.abc import Callable, Iterable

from tests.stores import Odd, until

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
HTML = {"Content-Type": "text/html; charset=utf-8"}
TEXT = {"Content-Type": "text/plain; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
PLAIN = {"Content-Type": "application/xml"}
XML = {**PLAIN, "x-amz-request-id": "4442587FB7D0A2F9"}
"""As S3 sends it: with a header of its own."""
PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>"
BACKEND = "default backend - 404"
FOREIGN = '"0123456789abcdef0123456789abcdef"'


def s3_error(status: int, code: str) -> Odd:
    """An error as S3 says it."""
    said = f"<Error><Code>{code}</Code><Message>as the test has it</Message><RequestId>4442</RequestId></Error>"
    return Odd(status, XML, f'<?xml version="1.0" encoding="UTF-8"?>\n{said}')


NO_SUCCESS = {
    "200 html": Odd(200, HTML, PAGE),
    "200 html of a proxy that sets ETags": Odd(200, {**HTML, "ETag": FOREIGN}, PAGE),
    "200 text": Odd(200, TEXT, "ok"),
    "200 json": Odd(200, JSON, '{"status": "ok"}'),
    "200 empty": Odd(200),
    "200 empty ETag": Odd(200, {"ETag": ""}),
    "200 quoted empty ETag": Odd(200, {"ETag": '""'}),
    "200 ETag of another object": Odd(200, {"ETag": FOREIGN}),
    "200 <Error>": Odd(200, XML, s3_error(200, "InternalError").body),
    "200 <Error> with an ETag": Odd(200, {**XML, "ETag": FOREIGN}, s3_error(200, "SlowDown").body),
    "200 root without members": Odd(200, PLAIN, "<{root}></{root}>"),
    "200 another root": Odd(200, PLAIN, "<Maintenance><ETag>&quot;1&quot;</ETag><UploadId>1</UploadId></Maintenance>"),
    "200 document that breaks off": Odd(200, PLAIN, '<?xml version="1.0" encoding="UTF-8"?>\n<{root}><ETag>&quot;'),
    "200 blanks": Odd(200, PLAIN, '<?xml version="1.0" encoding="UTF-8"?>\n   \n  '),
    "201": Odd(201),
    "201 html": Odd(201, HTML, PAGE),
    "202": Odd(202),
    "203 html": Odd(203, HTML, PAGE),
    "204": Odd(204),
    "206": Odd(206),
    "206 html": Odd(206, HTML, PAGE),
    "299": Odd(299, TEXT, "ok"),
    "200 html, a header that is no text": Odd(200, {"Content-Type": "text/html; charset=\xff"}, PAGE),
    "200 ETag that is no text": Odd(200, {"ETag": '"\xff"'}),
}
"""Statuses of success that are none."""
NO_DOCUMENT = {
    **{f"{status} html": Odd(status, {**HTML, "Location": "http://portal.test/"}, PAGE) for status in (302, 307, 308)},
    "303": Odd(303, {"Location": "http://portal.test/"}),
    **{f"{status} text": Odd(status, TEXT, BACKEND) for status in (400, 404, 407, 408, 410, 413, 421, 425, 429, 499)},
    **{f"{status} html": Odd(status, HTML, PAGE) for status in (401, 403, 404, 405, 409, 411, 413, 418, 426, 431, 451)},
    **{f"{status} json": Odd(status, JSON, '{"error": "upstream"}') for status in (403, 404, 412, 423, 429)},
    **{f"{status}": Odd(status) for status in (400, 403, 404, 408, 409, 412, 413, 421)},
    **{f"{status} html": Odd(status, HTML, PAGE) for status in (500, 502, 503, 504, 507, 520)},
    **{f"{status}": Odd(status) for status in (500, 501, 502, 503, 504, 507, 520, 599)},
    "404 html, a header that is no text": Odd(404, {"Content-Type": "text/html; charset=\xff"}, PAGE),
    "101": Odd(101, cut="body"),
    "103 alone": Odd(103, cut="body"),
    "199": Odd(199, TEXT, "?", cut="body"),
    "status 000": Odd("000", TEXT, "?"),
    "no HTTP": Odd("2OO"),
}
"""Refusals without S3's document: nothing is known of the object."""
S3_ERRORS = {
    f"{status} {code}": s3_error(status, code)
    for status, code in (
        (301, "PermanentRedirect"),
        (307, "TemporaryRedirect"),
        (400, "InvalidRequest"),
        (400, "RequestTimeout"),
        (400, "ExpiredToken"),
        (400, "BadDigest"),
        (400, "EntityTooLarge"),
        (401, "Unauthorized"),
        (403, "AccessDenied"),
        (403, "SignatureDoesNotMatch"),
        (403, "QuotaExceeded"),
        (404, "NoSuchBucket"),
        (404, "NoSuchKey"),
        (404, "NoSuchUpload"),
        (405, "MethodNotAllowed"),
        (408, "RequestTimeout"),
        (409, "OperationAborted"),
        (411, "MissingContentLength"),
        (412, "PreconditionFailed"),
        (423, "ObjectLocked"),
        (429, "TooManyRequests"),
        (500, "EntityTooLarge"),
        (500, "InternalError"),
        (501, "NotImplemented"),
        (503, "SlowDown"),
        (503, "InvalidTag"),
        (503, "ServiceUnavailable"),
        (507, "InsufficientStorage"),
    )
}
"""Refusals that the store itself says."""
CUT = {
    "cut before the body is read": Odd(cut="unread"),
    "cut after the request": Odd(cut="read"),
    "reset after the request": Odd(cut="read", reset=True),
    "cut in the head": Odd(200, {"ETag": FOREIGN}, cut="head"),
    "cut in the body": Odd(200, XML, "<{root}><ETag>", cut="body"),
}
APPLIED = {
    "500, applied": Odd(500, HTML, PAGE, applied=True),
    "503, applied": Odd(503, XML, s3_error(503, "SlowDown").body, applied=True),
    "504, applied": Odd(504, HTML, PAGE, applied=True),
    "200 html, applied": Odd(200, HTML, PAGE, applied=True),
    "404 text, applied": Odd(404, TEXT, BACKEND, applied=True),
    "cut after it was applied": Odd(cut="applied"),
    "reset after it was applied": Odd(cut="applied", reset=True),
    "cut in the head, applied": Odd(200, {"ETag": FOREIGN}, applied=True, cut="head"),
}
"""What was done nevertheless."""
ANSWERS = {**NO_SUCCESS, **NO_DOCUMENT, **S3_ERRORS, **CUT, **APPLIED}
CONFIRMS = {
    "DeleteObject": {"204", "404 NoSuchKey"},
    "DeleteObjectTagging": {"204", "404 NoSuchKey"},
    "PutObjectTagging": {
        *("200 empty", "200 empty ETag", "200 quoted empty ETag", "200 ETag of another object", "404 NoSuchKey"),
        "200 ETag that is no text",
    },
    "AbortMultipartUpload": {"204", "404 NoSuchUpload"},
    "GetObject": {
        *("200 ETag of another object", "200 html of a proxy that sets ETags", "200 <Error> with an ETag"),
        *("200 empty", "206"),
    },
    "HeadObject": {"200 ETag of another object", "200 html of a proxy that sets ETags", "200 <Error> with an ETag"},
    "ListObjectsV2": {"200 root without members"},
    "ListObjects": {"200 root without members"},
    "UploadPart": {"200 ETag of another object"},
    "PutObject": {"200 ETag of another object"},
}
"""What is S3's own answer to an operation, so that nobody can tell. To a push, only what says nothing is (`SILENT`)."""


def some(names: Iterable[str], number: int) -> list[str]:
    """Every second of these answers, for the kind of request of this number; the next kind gets the others. A soak
    gives each kind all of them."""
    return [*names] if SOAK_HOURS else [*names][number % 2 :: 2]


IN_TIME = 60.0
"""Seconds in which what the store answers again arrives, of all kinds together."""


async def all_of(*hold: Callable[[], bool], seconds: float) -> None:
    """Wait until all of these hold, and not for longer; what does not is looked at afterwards."""
    with contextlib.suppress(AssertionError):
        await until(lambda: all(one() for one in hold), seconds)
