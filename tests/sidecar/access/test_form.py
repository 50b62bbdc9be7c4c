"""Signatures of forms: the example of AWS, botocore's own, and each way in which one is refused."""

from collections.abc import Mapping

import pytest
from botocore.auth import HmacV1PostAuth, S3SigV4PostAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from s3d.access import form
from s3d.access.keys import AccessKey, Keys
from s3d.errors import S3Error
from tests.sidecar.access.examples import ID, KEY, KEYS, SECRET

POLICY = (
    "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2"
    "NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMt"
    "cmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29t"
    "L3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4"
    "LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0s"
    "DQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZP"
    "RE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1B"
    "Qy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9"
)
FIELDS = {
    "key": "user/user1/${filename}",
    "policy": POLICY,
    "x-amz-algorithm": "AWS4-HMAC-SHA256",
    "x-amz-credential": f"{ID}/20151229/us-east-1/s3/aws4_request",
    "x-amz-date": "20151229T000000Z",
    "x-amz-signature": "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
}


def judge(fields: Mapping[str, str]) -> str:
    with pytest.raises(S3Error) as caught:
        form.authenticate(fields, KEYS, secure=True)
    return caught.value.code


def test_the_example_of_aws_is_verified() -> None:
    assert form.authenticate(FIELDS, KEYS, secure=True) is KEY


def posted(signer: type[S3SigV4PostAuth | HmacV1PostAuth], *arguments: str) -> dict[str, str]:
    request = AWSRequest("POST", "http://127.0.0.1/b")
    request.context["s3-presign-post-fields"] = {"key": "k"}
    request.context["s3-presign-post-policy"] = {"expiration": "2030-01-01T00:00:00Z", "conditions": [{"bucket": "b"}]}
    signer(Credentials(ID, SECRET), *arguments).add_auth(request)
    fields: dict[str, str] = request.context["s3-presign-post-fields"]
    return {name.lower(): value for name, value in fields.items()}


def test_the_forms_of_botocore_are_verified() -> None:
    assert form.authenticate(posted(S3SigV4PostAuth, "s3", "eu-west-1"), KEYS, secure=True) is KEY


def test_forms_of_version_2_are_refused() -> None:
    assert judge(posted(HmacV1PostAuth)) == "InvalidRequest"


def test_a_form_that_nobody_signed_is_refused_unless_it_is_somebodys() -> None:
    assert judge({"key": "k"}) == "AccessDenied"
    guest = AccessKey("", ())
    assert form.authenticate({"key": "k"}, Keys([KEY], guest), secure=False) is guest


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"key"}))
def test_half_of_a_signature_is_none(name: str) -> None:
    assert judge({field: value for field, value in FIELDS.items() if field != name}) == "InvalidArgument"
    assert judge(FIELDS | {name: ""}) == "InvalidArgument"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("policy", POLICY[:-1] + "0", "SignatureDoesNotMatch"),
        ("policy", POLICY + "\n", "SignatureDoesNotMatch"),
        ("x-amz-signature", "0" * 64, "SignatureDoesNotMatch"),
        ("x-amz-signature", "é", "SignatureDoesNotMatch"),
        ("x-amz-credential", f"{ID}/20151229/us-east-2/s3/aws4_request", "SignatureDoesNotMatch"),
        ("x-amz-credential", "nobody/20151229/us-east-1/s3/aws4_request", "InvalidAccessKeyId"),
        ("x-amz-credential", f"{ID}/20151228/us-east-1/s3/aws4_request", "InvalidArgument"),
        ("x-amz-credential", ID, "InvalidArgument"),
        ("x-amz-date", "yesterday", "InvalidArgument"),
        ("x-amz-date", "20151230T000000Z", "InvalidArgument"),
        ("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256", "InvalidRequest"),
        ("x-amz-security-token", "token", "InvalidToken"),
    ],
)
def test_what_is_wrong_in_a_form_is_refused(name: str, value: str, code: str) -> None:
    assert judge(FIELDS | {name: value}) == code


@pytest.mark.parametrize("name", ["x-amz-copy-source", "x-amz-rename-source"])
def test_a_form_copies_nothing(name: str) -> None:
    assert judge(FIELDS | {name: "theirs/k"}) == "NotImplemented"


def test_the_file_of_a_form_needs_a_way_that_nobody_can_change() -> None:
    with pytest.raises(S3Error, match="AccessDenied"):
        form.authenticate(FIELDS, KEYS, secure=False)
