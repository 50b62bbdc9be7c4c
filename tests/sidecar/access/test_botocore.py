"""Requests of any legal kind, signed by botocore: each is verified, and none with a byte of it changed."""

import os
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from s3d.access import verify
from s3d.api import Wire
from s3d.errors import S3Error
from tests.sidecar.access.examples import DAY, EMPTY, HELLO, ID, KEY, KEYS, SECRET, changed

EXAMPLES = settings(max_examples=int(os.environ.get("S3D_EXAMPLES", "300")))
HOST = "127.0.0.1:9000"
STAMP = "20130524T000000Z"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ALWAYS = "-_.~"
SPARED = st.sampled_from([ALWAYS, ALWAYS + "!*'()", ALWAYS + "!$'()*,;:@+"])
"""What a client leaves unquoted."""
PATHS = st.builds(lambda key, spared: f"/bucket/{quote(key, safe='/' + spared)}", TEXT, SPARED)
NAMES = TEXT.filter(lambda name: name and not name.startswith("X-Amz-") and name not in ("Signature", "AWSAccessKeyId"))
"""Of members of a query that sign nothing."""
QUERIES = st.builds(
    lambda pairs, spared: "&".join(f"{quote(name, safe=ALWAYS)}={quote(value, safe=spared)}" for name, value in pairs),
    st.lists(st.tuples(NAMES, TEXT), max_size=4, unique_by=lambda pair: pair[0]),
    SPARED,
)
VALUES = st.text(st.sampled_from("abc  \t019%+/;,=é€"), max_size=12).map(str.strip)
HEADERS = st.dictionaries(
    st.one_of(
        st.from_regex(r"x-amz-meta-[a-z0-9-]{1,10}", fullmatch=True),
        st.sampled_from(["Content-Type", "Cache-Control", "Range", "x-amz-acl", "X-Amz-Tagging"]),
    ),
    VALUES,
    max_size=4,
)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"])
REGIONS = st.sampled_from(["us-east-1", "auto", "eu-central-2"])


def signed(signer: S3SigV4Auth | S3SigV4QueryAuth, method: str, url: str, headers: Mapping[str, str]) -> Wire:
    """What botocore sends, as it comes over the wire."""
    request = AWSRequest(method, url, headers={"Host": HOST, **headers})
    request.context["timestamp"] = STAMP
    signer._modify_request_before_signing(request)
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(to_sign, request))
    path, _, query = request.url.removeprefix(f"http://{HOST}").partition("?")
    return Wire(method, path, query, CIMultiDict(request.headers.items()))


@st.composite
def in_header(draw: st.DrawFn) -> Wire:
    signer = S3SigV4Auth(Credentials(ID, SECRET), "s3", draw(REGIONS))
    query = draw(QUERIES)
    payload = draw(st.sampled_from([HELLO, EMPTY, "UNSIGNED-PAYLOAD"]))
    headers = draw(HEADERS) | {"X-Amz-Content-SHA256": payload, "Content-Length": "5"}
    return signed(signer, draw(METHODS), f"http://{HOST}{draw(PATHS)}" + (f"?{query}" if query else ""), headers)


@st.composite
def in_query(draw: st.DrawFn) -> Wire:
    signer = S3SigV4QueryAuth(Credentials(ID, SECRET), "s3", draw(REGIONS), expires=draw(st.integers(1, 604800)))
    query = draw(QUERIES)
    return signed(signer, draw(METHODS), f"http://{HOST}{draw(PATHS)}" + (f"?{query}" if query else ""), draw(HEADERS))


REQUESTS = st.one_of(in_header(), in_query())


@EXAMPLES
@given(REQUESTS)
def test_what_botocore_signs_is_verified(wire: Wire) -> None:
    assert verify.authenticate(wire, KEYS, DAY, secure=True).key is KEY


@EXAMPLES
@given(REQUESTS, st.data())
def test_a_byte_changed_in_any_signed_part_is_refused(wire: Wire, data: st.DataObject) -> None:
    parts = ["method", "path", "query", *(f"value of {name}" for name in wire.headers)]
    parts += [f"name of {name}" for name in wire.headers if name not in ("Authorization", "Host")]
    part = data.draw(st.sampled_from(parts), label="part")
    other = altered(wire, part, data)
    with pytest.raises(S3Error) as caught:
        verify.authenticate(other, KEYS, DAY, secure=True)
    assert caught.value.status in (400, 403)


def altered(wire: Wire, part: str, data: st.DataObject) -> Wire:
    """A request with one letter or digit of a part made another one."""
    if part == "method":
        return replace(wire, method=data.draw(METHODS.filter(lambda method: method != wire.method)))
    if part == "path":
        return replace(wire, path=one_other(wire.path, data))
    if part == "query":
        return replace(wire, query=one_other(wire.query, data))
    what, _, name = part.partition(" of ")
    value = wire.headers[name]
    if what == "name":
        return changed(wire, lambda headers: (headers.popall(name), headers.add(one_other(name, data), value)))
    return changed(wire, lambda headers: headers.update({name: one_other(value, data)}))


def one_other(text: str, data: st.DataObject) -> str:
    places = [place for place, letter in enumerate(text) if letter.isascii() and letter.isalnum()]
    assume(places)
    place = data.draw(st.sampled_from(places), label="place")
    # No digit of an escape, whose case says nothing.
    return text[:place] + ("z" if text[place] not in "zZ" else "y") + text[place + 1 :]
