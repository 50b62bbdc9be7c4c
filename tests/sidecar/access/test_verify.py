"""Signatures of requests: the examples of AWS, and each way in which one is refused."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict

from s3d.access import verify
from s3d.access.keys import AccessKey, Keys
from s3d.api import Wire
from s3d.errors import S3Error
from s3d.protocol import encode, sigv4
from tests.sidecar.access.examples import (
    DAY,
    EMPTY,
    HELLO,
    HOST,
    ID,
    KEY,
    KEYS,
    SCOPE,
    SECRET,
    SIGNED_CHUNKS,
    SIGNED_TRAILER,
    authorization,
    changed,
    put,
)

PRESIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)
"""The presigned GET of /test.txt that AWS documents."""
CHUNKED = {
    "Host": "s3.amazonaws.com",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "Content-Encoding": "aws-chunked",
    "x-amz-decoded-content-length": "66560",
    "Content-Length": "66824",
}
CHUNKED_NAMES = "host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class"


def judge(
    wire: Wire, keys: Keys = KEYS, now: datetime = DAY, *, secure: bool = True
) -> tuple[str, Mapping[str, str], str]:
    """The code, the details and the document of the refusal."""
    with pytest.raises(S3Error) as caught:
        verify.authenticate(wire, keys, now, secure=secure)
    return caught.value.code, caught.value.details, encode.error(caught.value).decode()


def presigned(query: str = PRESIGNED, **headers: str) -> Wire:
    sent = CIMultiDict({"Host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}})
    return Wire("GET", "/test.txt", query, sent)


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "names", "signature"),
    [
        (
            "GET",
            "/test.txt",
            "",
            {"Range": "bytes=0-9", "x-amz-content-sha256": EMPTY},
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            "",
            {
                "Date": "Fri, 24 May 2013 00:00:00 GMT",
                "Content-Length": "21",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
                "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            },
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/",
            "lifecycle",
            {"x-amz-content-sha256": EMPTY},
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/",
            "max-keys=2&prefix=J",
            {"x-amz-content-sha256": EMPTY},
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
        (
            "PUT",
            "/examplebucket/chunkObject.txt",
            "",
            {**CHUNKED, "x-amz-content-sha256": SIGNED_CHUNKS},
            f"content-encoding;content-length;{CHUNKED_NAMES}",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
        (
            "PUT",
            "/examplebucket/chunkObject.txt",
            "",
            {**CHUNKED, "x-amz-content-sha256": SIGNED_TRAILER, "x-amz-trailer": "x-amz-checksum-crc32c"},
            f"content-encoding;{CHUNKED_NAMES};x-amz-trailer",
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        ),
    ],
    ids=["get", "put", "lifecycle", "list", "chunks", "trailer"],
)
def test_the_examples_of_aws_are_verified(
    method: str, path: str, query: str, headers: dict[str, str], names: str, signature: str
) -> None:
    sent = CIMultiDict({"Host": HOST, "x-amz-date": "20130524T000000Z", **headers})
    sent["Authorization"] = authorization(names, signature)
    caller = verify.authenticate(Wire(method, path, query, sent), KEYS, DAY, secure=False)
    assert (caller.key, caller.payload) == (KEY, headers["x-amz-content-sha256"])
    assert (caller.seal is not None) is caller.payload.startswith("STREAMING-")


def test_the_presigned_example_of_aws_is_verified() -> None:
    caller = verify.authenticate(presigned(), KEYS, DAY, secure=False)
    assert (caller.key, caller.seal, caller.payload) == (KEY, None, "UNSIGNED-PAYLOAD")


@pytest.mark.parametrize("region", ["us-east-1", "auto", "eu-nowhere-9"])
def test_the_region_of_a_signature_may_be_any(region: str) -> None:
    assert verify.authenticate(put(region=region), KEYS, DAY, secure=True).key is KEY


@pytest.mark.parametrize("secret", ["new", "old"])
def test_each_secret_of_a_key_holds(secret: str) -> None:
    key = AccessKey("rotated", ("new", "old"))
    assert verify.authenticate(put(key="rotated", secret=secret), Keys([key], None), DAY, secure=True).key is key


def test_a_secret_that_fills_up_the_number_opens_nothing() -> None:
    keys = Keys([KEY, AccessKey("rotated", ("new", "old"))], None)
    filler = keys.candidates(KEY)[1]
    assert judge(put(secret=filler), keys)[0] == "SignatureDoesNotMatch"
    assert judge(put(key="nobody", secret=keys.candidates(None)[0]), keys)[0] == "InvalidAccessKeyId"


def test_an_unsigned_request_is_refused_unless_it_is_somebodys() -> None:
    wire = Wire("GET", "/b/k", "versionId=1", CIMultiDict(Host=HOST))
    assert judge(wire)[0] == "AccessDenied"
    assert not verify.is_signed(wire)
    guest = AccessKey("", (), identity="guests", read_only=True)
    caller = verify.authenticate(wire, Keys([KEY], guest), DAY, secure=False)
    assert (caller.key, caller.seal, caller.payload) == (guest, None, "UNSIGNED-PAYLOAD")


def test_a_wrong_signature_is_not_anonymous() -> None:
    keys = Keys([KEY], AccessKey("", ()))
    assert judge(put(secret="wrong"), keys)[0] == "SignatureDoesNotMatch"
    assert judge(put(key="nobody"), keys)[0] == "InvalidAccessKeyId"


@pytest.mark.semantics("A-5")
def test_a_refusal_shows_what_was_signed_as_a_hash_and_no_right_signature() -> None:
    wire = put(secret="wrong", headers={"x-amz-meta-a": "private words"})
    code, details, document = judge(wire)
    assert (code, details["AWSAccessKeyId"]) == ("SignatureDoesNotMatch", ID)
    assert details["StringToSign"].startswith(f"AWS4-HMAC-SHA256\n20130524T000000Z\n{SCOPE}\n")
    right = put(headers={"x-amz-meta-a": "private words"}).headers["Authorization"].rpartition("=")[2]
    assert verify.authenticate(put(headers={"x-amz-meta-a": "private words"}), KEYS, DAY, secure=True).key is KEY
    for word in (right, SECRET, "private words"):
        assert word not in document


@pytest.mark.parametrize("skew", [timedelta(minutes=15), timedelta(minutes=-15)])
def test_a_clock_may_differ_by_a_quarter_of_an_hour(skew: timedelta) -> None:
    assert verify.authenticate(put(now=DAY + skew), KEYS, DAY, secure=True).key is KEY
    code, details, _ = judge(put(now=DAY + skew * 1.01))
    assert code == "RequestTimeTooSkewed"
    assert details["ServerTime"] == "2013-05-24T00:00:00.000Z"
    assert details["MaxAllowedSkewMilliseconds"] == "900000"


def test_a_date_header_will_do() -> None:
    dated = changed(changed(put(), without("x-amz-date")), said("Date", "Fri, 24 May 2013 00:00:00 GMT"))
    names = "date;host;x-amz-acl;x-amz-content-sha256"
    canonical = (
        "PUT\n/b/k\n\n"
        f"date:Fri, 24 May 2013 00:00:00 GMT\nhost:{HOST}\nx-amz-acl:private\nx-amz-content-sha256:{HELLO}\n\n"
        f"{names}\n{HELLO}"
    )
    to_sign = f"AWS4-HMAC-SHA256\n20130524T000000Z\n{SCOPE}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = sigv4.signed(sigv4.signing_key(SECRET, "20130524", "us-east-1", "s3"), to_sign)
    wire = changed(dated, said("Authorization", authorization(names, signature)))
    assert verify.authenticate(wire, KEYS, DAY, secure=True).key is KEY
    assert judge(changed(wire, said("Date", "Fri, 24 May 2013 00:00:01 GMT")))[0] == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (DAY - timedelta(minutes=15), ""),
        (DAY - timedelta(minutes=16), "AccessDenied"),
        (DAY + timedelta(days=1), ""),
        (DAY + timedelta(days=1, seconds=1), "AccessDenied"),
    ],
)
def test_a_presigned_url_holds_from_its_date_until_it_expires(now: datetime, code: str) -> None:
    if code:
        assert judge(presigned(), now=now)[0] == code
    else:
        assert verify.authenticate(presigned(), KEYS, now, secure=False).key is KEY


Change = Callable[[CIMultiDict[str]], object]


def without(name: str) -> Change:
    return lambda headers: headers.popall(name)


def said(name: str, value: str) -> Change:
    return lambda headers: headers.update({name: value})


def edited(old: str, new: str) -> Change:
    return lambda headers: headers.update({"Authorization": headers["Authorization"].replace(old, new)})


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (without("x-amz-content-sha256"), "MissingSecurityHeader"),
        (without("x-amz-date"), "AccessDenied"),
        (said("x-amz-date", "yesterday"), "AccessDenied"),
        (said("x-amz-date", "20130532T000000Z"), "AccessDenied"),
        (said("x-amz-meta-added", "1"), "AccessDenied"),
        (said("x-amz-security-token", "token"), "InvalidToken"),
        (said("Authorization", "Bearer abc"), "InvalidArgument"),
        (said("Authorization", "AWS4-HMAC-SHA256"), "AuthorizationHeaderMalformed"),
        (said("Authorization", "AWS4-HMAC-SHA256 Credential=a"), "AuthorizationHeaderMalformed"),
        (said("Authorization", f"AWS {ID}:frJIUN8DYpKDtOLCwo//yllqDzg="), "InvalidRequest"),
        (said("Authorization", "AWS4-ECDSA-P256-SHA256 Credential=a, SignedHeaders=b, Signature=c"), "InvalidRequest"),
        (edited("SignedHeaders=", "Signature=a, SignedHeaders="), "AuthorizationHeaderMalformed"),
        (edited(f"{ID}/", ""), "AuthorizationHeaderMalformed"),
        (edited("/us-east-1/", "//"), "AuthorizationHeaderMalformed"),
        (edited("/us-east-1/", f"/{'r' * 65}/"), "AuthorizationHeaderMalformed"),
        (edited("20130524", "20130523"), "AuthorizationHeaderMalformed"),
        (edited("/s3/", "/ec2/"), "AuthorizationHeaderMalformed"),
        (edited("aws4_request", "aws5_request"), "AuthorizationHeaderMalformed"),
        (edited(ID, "nobody"), "InvalidAccessKeyId"),
        (edited("us-east-1", "us-east-2"), "SignatureDoesNotMatch"),
        (edited("host;", ""), "AccessDenied"),
        (edited("x-amz-acl;", ""), "AccessDenied"),
        (edited("host;", "expect;host;"), "SignatureDoesNotMatch"),
        (edited("Signature=", "Signature=\udc80é"), "SignatureDoesNotMatch"),
    ],
)
def test_what_is_wrong_in_a_header_is_refused(spoil: Change, code: str) -> None:
    assert verify.authenticate(put(), KEYS, DAY, secure=True).key is KEY
    wire = changed(put(), spoil)
    assert verify.is_signed(wire)
    assert judge(wire)[0] == code


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("&X-Amz-SignedHeaders=host", "", "AuthorizationQueryParametersError"),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256&", "", "AuthorizationQueryParametersError"),
        ("&X-Amz-Expires=86400", "&X-Amz-Expires=86400&X-Amz-Expires=86400", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=864000", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=86401", "SignatureDoesNotMatch"),
        ("20130524%2F", "20130523%2F", "AuthorizationQueryParametersError"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "InvalidRequest"),
        (ID, "nobody", "InvalidAccessKeyId"),
        ("&X-Amz-SignedHeaders=host", "&X-Amz-SignedHeaders=range", "AccessDenied"),
        ("&X-Amz-Expires", "&X-Amz-Security-Token=t&X-Amz-Expires", "InvalidToken"),
        ("&X-Amz-Expires", "&x-amz-acl=public-read&X-Amz-Expires", "SignatureDoesNotMatch"),
        ("&X-Amz-Expires", f"&X-Amz-Content-Sha256={SIGNED_CHUNKS}&X-Amz-Expires", "AuthorizationQueryParametersError"),
    ],
)
def test_what_is_wrong_in_a_presigned_url_is_refused(old: str, new: str, code: str) -> None:
    assert old in PRESIGNED
    assert judge(presigned(PRESIGNED.replace(old, new)))[0] == code


def test_a_presigned_url_takes_no_unsigned_header_of_s3() -> None:
    code, details, _ = judge(presigned(x_amz_acl="public-read", Range="bytes=0-1"))
    assert (code, details["HeadersNotSigned"]) == ("AccessDenied", "x-amz-acl")


def test_one_request_has_one_signature() -> None:
    assert judge(presigned(Authorization=put().headers["Authorization"]))[0] == "InvalidArgument"
    assert (
        judge(changed(put(), lambda headers: headers.add("Authorization", headers["Authorization"])))[0]
        == "InvalidArgument"
    )


def test_version_2_is_refused_with_a_hint() -> None:
    credentials = Credentials(ID, SECRET)
    in_header = AWSRequest("GET", "http://127.0.0.1/b/k", headers={"Host": "127.0.0.1"})
    HmacV1Auth(credentials).add_auth(in_header)
    in_query = AWSRequest("GET", "http://127.0.0.1/b/k", headers={"Host": "127.0.0.1"})
    HmacV1QueryAuth(credentials, expires=60).add_auth(in_query)
    query = in_query.prepare().url.partition("?")[2]
    for wire in (
        Wire("GET", "/b/k", "", CIMultiDict(in_header.headers)),
        Wire("GET", "/b/k", query, CIMultiDict(Host="127.0.0.1")),
    ):
        code, _, document = judge(wire, now=datetime.now(UTC))
        assert code == "InvalidRequest"
        assert "Signature Version 4" in document


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_a_body_that_is_not_signed_needs_a_way_that_nobody_can_change(payload: str) -> None:
    wire = put(payload=payload)
    assert verify.authenticate(wire, KEYS, DAY, secure=True).payload == payload
    code, _, document = judge(wire, secure=False)
    assert code == "AccessDenied"
    assert "TLS" in document


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (HELLO, "XAmzContentSHA256Mismatch"),
        (SIGNED_CHUNKS, "MissingContentLength"),
        ("UNSIGNED-PAYLOAD", "AccessDenied"),
    ],
)
def test_a_body_that_was_taken_away_is_missed(payload: str, code: str) -> None:
    assert judge(changed(put(payload=payload), without("Content-Length")), secure=False)[0] == code


def test_chunks_cannot_be_signed_by_another_algorithm_than_the_request() -> None:
    assert judge(put(payload="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"))[0] == "InvalidRequest"
