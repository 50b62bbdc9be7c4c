"""The remotes that the other tests stand on are what those tests take them for."""

import hashlib

import pytest

from tests.remotes import Remote


def test_a_remote_gives_back_what_it_was_given(remote: Remote, bucket: str) -> None:
    body = bytes(range(256)) * 4096
    s3 = remote.client()
    put = s3.put_object(Bucket=bucket, Key="dir/é +", Body=body, Metadata={"k": "v"}, ContentType="text/x-test")
    got = s3.get_object(Bucket=bucket, Key="dir/é +")
    assert got["Body"].read() == body
    assert (got["Metadata"], got["ContentType"]) == ({"k": "v"}, "text/x-test")
    assert got["ETag"] == put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["dir/é +"]


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("key", ["a//b", "a/../b", "./x", "d/", "a b", "a+b", "a%2Fb", "\u00e9", "e\u0301"])
def test_moto_keeps_odd_keys(remote: Remote, bucket: str, key: str) -> None:
    s3 = remote.client()
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
