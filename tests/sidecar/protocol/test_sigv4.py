"""Signatures, held to botocore's and to the examples of AWS."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from botocore.auth import HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from s3d.errors import S3Error
from s3d.protocol import sigv4

KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


def signed(
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    *,
    payload_hash: str = EMPTY,
    now: datetime = NOW,
    token: str | None = None,
) -> CIMultiDict[str]:
    out = CIMultiDict(headers)
    sigv4.sign(
        method=method,
        path=path,
        query=query,
        headers=out,
        payload_hash=payload_hash,
        access_key=KEYS.access_key,
        secret_key=KEYS.secret_key,
        token=token,
        region="us-east-1",
        now=now,
    )
    return out


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_examples_of_aws_are_signed_as_documented(query: str, signature: str) -> None:
    headers = signed(
        "GET", "/", query, {"Host": "examplebucket.s3.amazonaws.com"}, now=datetime(2013, 5, 24, tzinfo=UTC)
    )
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"
    )


@given(
    key=TEXT,
    query=st.lists(st.tuples(TEXT, TEXT), max_size=4),
    metadata=st.dictionaries(st.from_regex(r"[a-z0-9-]{1,10}", fullmatch=True), VALUES, max_size=3),
    token=st.sampled_from([None, "token"]),
)
def test_odd_requests_are_signed_as_botocore_signs_them(
    key: str, query: list[tuple[str, str]], metadata: dict[str, str], token: str | None
) -> None:
    path = f"/bucket/{quote(key, safe='/-_.~')}"
    text = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
    headers = {"Host": "127.0.0.1:9000", "Content-Type": "text/plain"}
    headers |= {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    ours = signed("PUT", path, text, headers, token=token)

    url = f"http://127.0.0.1:9000{path}" + (f"?{text}" if text else "")
    request = AWSRequest("PUT", url, headers={n: v for n, v in ours.items() if n != "Authorization"})
    request.context["timestamp"] = ours["x-amz-date"]
    auth = S3SigV4Auth(KEYS, "s3", "us-east-1")
    theirs = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert ours["Authorization"].endswith(f"Signature={theirs}")


def test_what_a_proxy_may_rewrite_is_not_signed() -> None:
    headers = signed(
        "GET", "/b/k", "", {"Host": "h", "Accept-Encoding": "gzip", "Range": "bytes=0-1", "Expect": "100-continue"}
    )
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date," in headers["Authorization"]


def test_a_signature_replaces_the_one_that_was_there() -> None:
    old = {"Host": "h", "Authorization": "old", "x-amz-date": "old", "x-amz-security-token": "old"}
    headers = signed("GET", "/b/k", "", old)
    assert headers.getall("Authorization")[0].startswith("AWS4-HMAC-SHA256 ")
    assert headers.getall("x-amz-date") == ["20260203T040506Z"]
    assert "x-amz-security-token" not in headers


def test_header_bytes_that_are_no_utf8_are_signed_as_they_came() -> None:
    assert "Signature=" in signed("PUT", "/b/k", "", {"Host": "h", "x-amz-meta-a": "\udce9"})["Authorization"]


def presigned_v4(expires: int = 60) -> str:
    request = AWSRequest("PUT", "http://127.0.0.1:9000/b/a%20b?x-id=PutObject", headers={"Host": "127.0.0.1:9000"})
    S3SigV4QueryAuth(KEYS, "s3", "us-east-1", expires=expires).add_auth(request)
    return str(urlsplit(request.url).query)


def presigned_v2() -> str:
    request = AWSRequest(
        "PUT", "http://127.0.0.1:9000/b/k", headers={"Content-Type": "text/plain", "Content-MD5": "x", "x-amz-acl": "a"}
    )
    HmacV1QueryAuth(KEYS, expires=60).add_auth(request)
    return str(urlsplit(request.prepare().url).query)


@pytest.mark.semantics("A-1")
@pytest.mark.parametrize("presign", [presigned_v4, presigned_v2], ids=["version 4", "version 2"])
def test_a_presigned_url_of_botocore_ends_with_its_time(presign: Callable[[], str]) -> None:
    members = dict(parse_qsl(presign()))
    now = datetime.now(UTC)
    assert sigv4.presigned(members)
    sigv4.check_presigned(members, now)
    with pytest.raises(S3Error, match="Request has expired") as caught:
        sigv4.check_presigned(members, now + timedelta(seconds=120))
    assert (caught.value.code, caught.value.status) == ("AccessDenied", 403)


@pytest.mark.semantics("A-1")
@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"X-Amz-Signature": "s"}, "AuthorizationQueryParametersError"),
        ({"X-Amz-Signature": "s", "X-Amz-Date": "20260203T040506Z"}, "AuthorizationQueryParametersError"),
        (
            {"X-Amz-Signature": "s", "X-Amz-Date": "today", "X-Amz-Expires": "60"},
            "AuthorizationQueryParametersError",
        ),
        (
            {"X-Amz-Signature": "s", "X-Amz-Date": "20260203T040506Z", "X-Amz-Expires": "-1"},
            "AuthorizationQueryParametersError",
        ),
        (
            {"X-Amz-Signature": "s", "X-Amz-Date": "20260203T040506Z", "X-Amz-Expires": "604801"},
            "AuthorizationQueryParametersError",
        ),
        ({"X-Amz-Signature": "s", "X-Amz-Date": "20260204T040506Z", "X-Amz-Expires": "60"}, "AccessDenied"),
        ({"X-Amz-Signature": "s", "X-Amz-Date": "00010101T000000Z", "X-Amz-Expires": "60"}, "AccessDenied"),
        ({"X-Amz-Signature": "s", "X-Amz-Date": "99991231T235959Z", "X-Amz-Expires": "604800"}, "AccessDenied"),
        ({"AWSAccessKeyId": "a", "Signature": "s"}, "AccessDenied"),
        ({"AWSAccessKeyId": "a", "Signature": "s", "Expires": "soon"}, "AccessDenied"),
    ],
)
def test_a_presigned_url_without_a_readable_time_is_refused(members: dict[str, str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        sigv4.check_presigned(members, NOW)
    assert caught.value.code == code


def test_a_request_that_is_not_presigned_has_no_end() -> None:
    sigv4.check_presigned({"Expires": "1", "X-Amz-Expires": "1"}, NOW)
    assert not sigv4.presigned({"Expires": "1"})


@pytest.mark.parametrize(
    ("query", "rest"),
    [
        ("", ""),
        (presigned_v4(), "x-id=PutObject"),
        (presigned_v2(), "x-amz-acl=a"),
        ("prefix=a+b%2f&uploads", "prefix=a+b%2f&uploads"),
        ("Expires=1&Signature=2", "Expires=1&Signature=2"),
        ("x-amz-acl=private", "x-amz-acl=private"),
    ],
    ids=["none", "version 4", "version 2", "as it was sent", "no signature", "not presigned"],
)
def test_a_query_loses_the_signature_and_nothing_else(query: str, rest: str) -> None:
    assert sigv4.strip_auth(query, CIMultiDict())[0] == rest


def test_headers_lose_the_signature_and_nothing_else() -> None:
    auth = {"Authorization": "a", "X-Amz-Date": "d", "x-amz-security-token": "t", "X-Amz-Content-SHA256": "h"}
    assert sigv4.strip_auth("", CIMultiDict(auth | {"x-amz-acl": "private"}))[1] == {"x-amz-acl": "private"}


def test_headers_in_a_presigned_query_become_headers() -> None:
    query, headers = sigv4.strip_auth(
        "X-Amz-Signature=s&x-amz-acl=private&X-Amz-Meta-A=b+c%2B&partNumber=1", CIMultiDict({"X-Amz-Acl": "mine"})
    )
    assert query == "partNumber=1"
    assert headers == CIMultiDict({"x-amz-acl": "mine", "x-amz-meta-a": "b c+"})


def test_a_header_in_a_query_cannot_make_a_second_one() -> None:
    with pytest.raises(S3Error, match="InvalidArgument"):
        sigv4.strip_auth("X-Amz-Signature=s&x-amz-meta-a=b%0d%0ax-amz-acl:public-read", CIMultiDict())
