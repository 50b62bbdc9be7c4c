"""Addresses, odd requests and hostile documents."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from s3d.api import Wire
from s3d.errors import S3Error
from s3d.protocol import decode
from s3d.protocol.model import OPERATIONS

DOMAINS = ["localhost", "s3.internal"]
KEYS = [
    "a//b",
    "a/../b",
    "./x",
    "d/",
    "a b",
    "a+b",
    "a%2Fb",
    "%",
    "é",
    "e\u0301",
    "/lead",
    "a/",
    "//",
    "?",
    "#",
    "..",
    "\u00e9\U0001f600",
]


def put(path: str, host: str = "127.0.0.1:33333", query: str = "", **headers: str) -> Wire:
    sent = CIMultiDict({"Host": host} | {name.replace("_", "-"): value for name, value in headers.items()})
    return Wire("PUT", path, query, sent)


@pytest.mark.semantics("A-4")
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("safe", ["/", "", "/+:@!$&'()*,;="], ids=["slashes", "nothing", "all that may"])
def test_the_key_is_what_the_client_meant(key: str, safe: str) -> None:
    assert decode.target(put(f"/bucket/{quote(key, safe=safe)}"), DOMAINS) == ("bucket", key)
    assert decode.target(put(f"/{quote(key, safe=safe)}", host="bucket.localhost:33333"), DOMAINS) == ("bucket", key)


@pytest.mark.semantics("A-4")
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_key_comes_back(key: str) -> None:
    assert decode.target(put(f"/bucket/{quote(key, safe='')}"), DOMAINS) == ("bucket", key)


@pytest.mark.parametrize(
    ("path", "host", "expected"),
    [
        ("/", "localhost", ("", "")),
        ("/b", "localhost", ("b", "")),
        ("/b/", "localhost", ("b", "")),
        ("/b/k", "[::1]:33333", ("b", "k")),
        ("/b/k", "", ("b", "k")),
        ("/b/a%252Fb", "127.0.0.1", ("b", "a%2Fb")),
        ("/k", "B.LocalHost:33333", ("b", "k")),
        ("/", "b.localhost", ("b", "")),
        ("//k", "b.localhost", ("b", "/k")),
        ("/k", "a.b.s3.internal", ("a.b", "k")),
        ("/b/k", "notlocalhost", ("b", "k")),
        ("/b/k", ".localhost", ("b", "k")),
    ],
)
def test_bucket_and_key_of_an_address(path: str, host: str, expected: tuple[str, str]) -> None:
    assert decode.target(put(path, host=host), DOMAINS) == expected


@pytest.mark.parametrize(
    "path", ["/b/%zz", "/b/%4", "/b/%", "/b/%ff", "/b/%c3", "/b/\udcff", "/%e9/k", "b/k", "*", "", "//k"]
)
def test_an_address_that_cannot_be_read_is_an_invalid_uri(path: str) -> None:
    with pytest.raises(S3Error, match="InvalidURI") as caught:
        decode.target(put(path), DOMAINS)
    assert caught.value.status == 400


def test_bytes_sent_without_escapes_are_read_as_utf8() -> None:
    assert decode.target(put("/b/é"), DOMAINS) == ("b", "é")


def test_an_unknown_operation_still_names_bucket_and_key() -> None:
    assert decode.request(put("/b/k%20l", query="mystery"), DOMAINS) == (None, {"Bucket": "b", "Key": "k l"})


def test_a_query_member_that_is_there_twice_makes_the_operation_unknown() -> None:
    wire = Wire("GET", "/b/k", "versionId=1&versionId=2", CIMultiDict())
    assert decode.request(wire, DOMAINS) == (None, {"Bucket": "b", "Key": "k"})


def test_a_put_of_boto3_has_its_members() -> None:
    wire = put(
        "/b/k",
        Content_Type="text/plain",
        Content_Length="5",
        X_AMZ_META_Author="Ann",
        x_amz_checksum_crc32="AAAAAA==",
        x_amz_sdk_checksum_algorithm="CRC32",
        Expires="0",
        Authorization="AWS4-HMAC-SHA256 ...",
        Expect="100-continue",
    )
    assert decode.request(wire, DOMAINS) == (
        OPERATIONS["PutObject"],
        {
            "Bucket": "b",
            "Key": "k",
            "ContentType": "text/plain",
            "ContentLength": 5,
            "Metadata": {"author": "Ann"},
            "ChecksumCRC32": "AAAAAA==",
            "ChecksumAlgorithm": "CRC32",
            "Expires": "0",
        },
    )


def test_a_header_that_is_there_twice_is_one_list() -> None:
    headers = CIMultiDict([("x-amz-meta-a", "1"), ("X-Amz-Meta-A", "2"), ("If-Match", '"a"'), ("If-Match", '"b"')])
    assert decode.request(Wire("PUT", "/b/k", "", headers), DOMAINS)[1] == {
        "Bucket": "b",
        "Key": "k",
        "IfMatch": '"a","b"',
        "Metadata": {"a": "1,2"},
    }


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("aws-chunked", {"ContentLength": 5}),
        ("aws-chunked,gzip", {"ContentLength": 5, "ContentEncoding": "gzip"}),
        ("gzip, aws-chunked", {"ContentLength": 5, "ContentEncoding": "gzip"}),
        ("AWS-Chunked", {"ContentLength": 5}),
        ("gzip,AWS-CHUNKED,br", {"ContentLength": 5, "ContentEncoding": "gzip,br"}),
        ("gzip", {"ContentLength": 99, "ContentEncoding": "gzip"}),
    ],
)
def test_encoding_and_length_are_those_of_the_object(encoding: str, expected: dict[str, Any]) -> None:
    wire = put("/b/k", Content_Encoding=encoding, Content_Length="99", x_amz_decoded_content_length="5")
    assert decode.request(wire, DOMAINS)[1] == {"Bucket": "b", "Key": "k"} | expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("X-Amz-Signature=s&x-amz-acl=private&X-Amz-Meta-A=b%20c", {"ACL": "private", "Metadata": {"a": "b c"}}),
        ("x-amz-acl=private", {}),
    ],
    ids=["presigned", "not presigned"],
)
def test_a_header_in_the_query_counts_where_the_url_is_presigned(query: str, expected: dict[str, Any]) -> None:
    assert decode.request(put("/b/k", query=query), DOMAINS)[1] == {"Bucket": "b", "Key": "k"} | expected


@pytest.mark.parametrize(
    ("method", "query", "headers"),
    [
        ("GET", "partNumber=one", {}),
        ("GET", "response-content-type=a%0D%0AX:b", {}),
        ("PUT", "X-Amz-Signature=s&x-amz-meta-a=%0A", {}),
        ("PUT", "", {"x-amz-object-lock-retain-until-date": "soon"}),
        ("PUT", "", {"x-amz-server-side-encryption-bucket-key-enabled": "perhaps"}),
    ],
)
def test_a_member_that_cannot_be_read_is_an_invalid_argument(method: str, query: str, headers: dict[str, str]) -> None:
    with pytest.raises(S3Error, match="InvalidArgument"):
        decode.request(Wire(method, "/b/k", query, CIMultiDict(headers)), DOMAINS)


def test_a_condition_with_an_unreadable_date_does_not_count() -> None:
    wire = Wire("GET", "/b/k", "", CIMultiDict({"If-Modified-Since": "yesterday"}))
    assert decode.request(wire, DOMAINS)[1] == {"Bucket": "b", "Key": "k"}


UNDERSTOOD = frozenset(["content-type", "x-amz-acl", "x-amz-meta-"])


@pytest.mark.semantics("Q-17")
@pytest.mark.parametrize(
    ("query", "headers", "unknown"),
    [
        ("", {"Content-Type": "a", "X-Amz-Acl": "private", "x-amz-meta-a": "1"}, []),
        ("x-id=PutObject", {"Host": "h", "Cookie": "c", "Date": "d", "X-Amz-Date": "d", "amz-sdk-request": "1"}, []),
        ("", {"X-Amzn-Trace-Id": "1", "User-Agent": "u", "Accept-Encoding": "e", "Expect": "100-continue"}, []),
        ("", {"x-amz-security-token": "t", "Authorization": "a", "x-amz-content-sha256": "h"}, []),
        ("X-Amz-Signature=s&X-Amz-Expires=9", {}, []),
        ("", {"If-None-Match": "*"}, ["if-none-match"]),
        ("", {"x-amz-new-thing": "1", "Content-New": "1"}, ["x-amz-new-thing", "content-new"]),
        ("", {"Expires": "0", "Cache-Control": "no", "Range": "r"}, ["expires", "cache-control", "range"]),
        ("", {"x-amz-website-redirect-location": "/"}, ["x-amz-website-redirect-location"]),
        ("versionId=1", {}, ["versionid"]),
        ("X-Amz-Signature=s&X-Amz-Acl=private", {}, ["x-amz-acl"]),
    ],
)
def test_what_a_put_says_and_nobody_understands_is_named(
    query: str, headers: dict[str, str], unknown: list[str]
) -> None:
    wire = Wire("PUT", "/b/k", query, CIMultiDict(headers))
    assert decode.unknown_members(wire, OPERATIONS["PutObject"], UNDERSTOOD) == unknown


@pytest.mark.semantics("Q-17")
def test_what_is_there_twice_is_never_understood() -> None:
    headers = CIMultiDict([("Content-Type", "a"), ("content-type", "b"), ("Via", "1"), ("Via", "2")])
    wire = Wire("PUT", "/b/k", "tagging&tagging", headers)
    assert decode.unknown_members(wire, OPERATIONS["PutObjectTagging"], UNDERSTOOD) == ["content-type", "tagging"]


@pytest.mark.semantics("Q-17")
def test_the_address_of_an_operation_is_understood() -> None:
    wire = Wire("POST", "/b", "delete", CIMultiDict())
    assert decode.unknown_members(wire, OPERATIONS["DeleteObjects"], frozenset()) == []


def test_a_bulk_delete_is_read_with_and_without_a_namespace() -> None:
    inner = "<Object><Key>a&amp;b</Key><VersionId>v</VersionId></Object><Object><Key/></Object><Quiet>TRUE</Quiet>"
    expected = {"Delete": {"Objects": [{"Key": "a&b", "VersionId": "v"}, {"Key": ""}], "Quiet": True}}
    for root in ("<Delete>", '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'):
        assert decode.input_xml(OPERATIONS["DeleteObjects"], f"{root}{inner}</Delete>".encode()) == expected
    prefixed = inner.replace("</", "</s3:").replace("<O", "<s3:O").replace("<K", "<s3:K").replace("<V", "<s3:V")
    document = f'<s3:Delete xmlns:s3="x">{prefixed.replace("<Q", "<s3:Q")}</s3:Delete>'
    assert decode.input_xml(OPERATIONS["DeleteObjects"], document.encode()) == expected


def test_white_space_between_elements_means_nothing() -> None:
    document = b"<Tagging>\n  <TagSet>\n    <Tag>\n <Key>k</Key>\n <Value> v </Value>\n</Tag>\n </TagSet>\n</Tagging>\n"
    assert decode.input_xml(OPERATIONS["PutObjectTagging"], document) == {
        "Tagging": {"TagSet": [{"Key": "k", "Value": " v "}]}
    }


@pytest.mark.semantics("Q-17")
def test_unknown_elements_are_named() -> None:
    document = b"<Delete><Object><Key>k</Key><New><Deep>1</Deep></New></Object><Mode>fast</Mode></Delete>"
    operation = OPERATIONS["DeleteObjects"]
    assert decode.understood(operation, document)[1] == ["New", "Mode"]
    assert decode.input_xml(operation, document) == {"Delete": {"Objects": [{"Key": "k"}]}}


@pytest.mark.parametrize("encoding", ["UTF-8", "utf-8", "US-ASCII"])
def test_a_document_may_name_its_encoding(encoding: str) -> None:
    document = f'<?xml version="1.0" encoding="{encoding}" standalone="yes"?><Delete><Quiet>true</Quiet></Delete>'
    assert decode.input_xml(OPERATIONS["DeleteObjects"], document.encode()) == {"Delete": {"Quiet": True}}


def test_no_document_is_no_members() -> None:
    assert decode.input_xml(OPERATIONS["CreateBucket"], b"") == {}
    assert decode.input_xml(OPERATIONS["PutObject"], b"<Delete/>") == {}


@pytest.mark.semantics("A-6")
@pytest.mark.parametrize(
    "document",
    [
        b"<Delete>",
        b"<Delete></Deleted>",
        b"<Other/>",
        b"no xml",
        b"<Delete><Quiet>maybe</Quiet></Delete>",
        b"<Delete><Object><Size>1_0</Size></Object></Delete>",
        b"<Delete>\xff</Delete>",
        b"<Delete>&undefined;</Delete>",
        b'<?xml version="1.0" encoding="hex"?><Delete/>',
        b'<?xml version="1.0" encoding="bogus"?><Delete/>',
        b'<?xml version="1.0" encoding="unicode_escape"?><Delete/>',
        b"<s3:><Delete/></s3:>",
        b'<!DOCTYPE Delete SYSTEM "http://127.0.0.1/x.dtd"><Delete/>',
        b'<!DOCTYPE d [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b'<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b"<Delete>" + b"<a>" * 20 + b"</a>" * 20 + b"</Delete>",
        b"<Delete>" + b"<a/>" * (decode.REQUEST_ELEMENTS + 1) + b"</Delete>",
        b"<Delete>" + b" " * decode.REQUEST_BYTES + b"</Delete>",
        b"<Delete>" + b'<a b="" c=""/>' * (decode.REQUEST_ELEMENTS // 3 + 1) + b"</Delete>",
        b"<Delete " + b" ".join(b'a%d=""' % number for number in range(50_000)) + b"></Delete>",
        b"<Delete><!--" + b"x" * 1_000_000 + b"--></Delete>",
    ],
    ids=range(21),
)
def test_a_document_that_is_broken_or_hostile_is_malformed(document: bytes) -> None:
    with pytest.raises(S3Error, match="MalformedXML") as caught:
        decode.input_xml(OPERATIONS["DeleteObjects"], document)
    assert caught.value.status == 400


def test_the_largest_documents_of_s3_are_within_bounds() -> None:
    parts = b"".join(
        b"<Part><PartNumber>%d</PartNumber><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>"
        b"<ChecksumSHA256>47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=</ChecksumSHA256></Part>" % number
        for number in range(1, 10_001)
    )
    document = b"<CompleteMultipartUpload>" + parts + b"</CompleteMultipartUpload>"
    read = decode.input_xml(OPERATIONS["CompleteMultipartUpload"], document)
    assert len(read["MultipartUpload"]["Parts"]) == 10_000
    keys = b"".join(b"<Object><Key>" + b"&quot;" * 1024 + b"</Key></Object>" for _ in range(1000))
    assert (
        len(decode.input_xml(OPERATIONS["DeleteObjects"], b"<Delete>" + keys + b"</Delete>")["Delete"]["Objects"])
        == 1000
    )
