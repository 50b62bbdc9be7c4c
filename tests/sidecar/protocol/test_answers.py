"""What confirms an operation, what refuses it, and what is no answer of a store at all (SEMANTICS Q-22, Q-3a, Q-8a)."""

import pytest
from multidict import CIMultiDict

from s3d.protocol import answers
from s3d.protocol.answers import CONFIRMED, Meaning
from s3d.protocol.model import OPERATIONS

HTML = "<!doctype html><title>Log in</title>"
ERROR = "<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
COPIED = '<?xml version="1.0"?>\n<CopyObjectResult><ETag>"e"</ETag></CopyObjectResult>'
COMPLETED = '<CompleteMultipartUploadResult xmlns="x"><ETag>&quot;e-1&quot;</ETag></CompleteMultipartUploadResult>'
DONE, REFUSED, UNKNOWN, NOT_S3, UNCLEAR = Meaning
TYPE, ETAG, MARK = "Content-Type", "ETag", "x-amz-request-id"

# operation, status, headers, document, what it means
TABLE = [
    ("PutObject", 200, {ETAG: '"e"'}, "", DONE),
    ("PutObject", 200, {ETAG: '"e"', TYPE: "text/html", MARK: "1"}, "", DONE),  # as moto says it
    ("PutObject", 200, {TYPE: "text/html"}, HTML, NOT_S3),
    ("PutObject", 200, {ETAG: '"page"', TYPE: "text/html"}, HTML, NOT_S3),
    ("PutObject", 200, {}, "", NOT_S3),
    ("PutObject", 200, {ETAG: '""'}, "", NOT_S3),
    ("PutObject", 201, {ETAG: '"e"'}, "", NOT_S3),
    ("PutObject", 202, {ETAG: '"e"'}, "", NOT_S3),
    ("PutObject", 204, {ETAG: '"e"'}, "", NOT_S3),
    ("PutObject", 206, {ETAG: '"e"'}, "", NOT_S3),
    ("PutObject", 101, {}, "", NOT_S3),
    ("PutObject", 200, {}, ERROR, UNKNOWN),
    ("PutObject", 200, {ETAG: '"e"', MARK: "1"}, ERROR, UNKNOWN),
    ("PutObjectTagging", 200, {MARK: "1"}, ERROR, UNKNOWN),
    ("PutObject", 302, {"Location": "http://portal"}, HTML, NOT_S3),
    ("PutObject", 307, {}, ERROR.replace("NoSuchKey", "TemporaryRedirect"), REFUSED),
    ("PutObject", 400, {}, ERROR, REFUSED),
    ("PutObject", 403, {MARK: "1"}, "", NOT_S3),
    ("PutObject", 404, {TYPE: "text/plain"}, "default backend - 404", NOT_S3),
    ("PutObject", 404, {}, '{"error": "no"}', NOT_S3),
    ("PutObject", 404, {}, "<Error><Message>no code</Message></Error>", NOT_S3),
    ("PutObject", 404, {}, "<Error><Code>NoSuchBucket</Code>", NOT_S3),  # it breaks off
    ("PutObject", 413, {TYPE: "text/html"}, HTML, NOT_S3),
    ("PutObject", 500, {}, ERROR, UNKNOWN),
    ("PutObject", 501, {}, ERROR, REFUSED),
    ("PutObject", 501, {TYPE: "text/html"}, HTML, NOT_S3),
    ("PutObject", 503, {}, ERROR, UNKNOWN),
    ("PutObject", 504, {TYPE: "text/html"}, HTML, UNKNOWN),
    ("PutObject", 507, {}, ERROR, UNKNOWN),
    ("UploadPart", 200, {ETAG: '"e"'}, "", DONE),
    ("UploadPart", 200, {TYPE: "text/html"}, HTML, NOT_S3),
    ("DeleteObject", 204, {}, "", DONE),
    ("DeleteObject", 200, {MARK: "1"}, "", DONE),
    ("DeleteObject", 200, {}, "", NOT_S3),
    ("DeleteObject", 200, {TYPE: "text/html"}, HTML, NOT_S3),
    ("DeleteObject", 404, {}, ERROR, REFUSED),
    ("DeleteObject", 404, {TYPE: "text/html"}, HTML, NOT_S3),
    ("PutObjectTagging", 200, {}, "", DONE),
    ("PutObjectTagging", 200, {TYPE: "text/html"}, "", NOT_S3),
    ("PutObjectTagging", 200, {}, HTML, NOT_S3),
    ("DeleteObjectTagging", 204, {}, "", DONE),
    ("AbortMultipartUpload", 204, {}, "", DONE),
    ("AbortMultipartUpload", 200, {TYPE: "text/html"}, HTML, NOT_S3),
    ("CopyObject", 200, {}, COPIED, DONE),
    ("CopyObject", 200, {}, COPIED.replace('"e"', ""), NOT_S3),
    ("CopyObject", 200, {}, COPIED[:-3], UNKNOWN),
    ("CopyObject", 200, {}, "  \n", NOT_S3),
    ("CopyObject", 200, {}, ERROR, UNKNOWN),
    ("CopyObject", 200, {}, COMPLETED, NOT_S3),
    ("CompleteMultipartUpload", 200, {}, "   " + COMPLETED, DONE),
    ("CompleteMultipartUpload", 200, {}, COMPLETED[:60], UNKNOWN),
    ("CompleteMultipartUpload", 200, {TYPE: "text/html"}, HTML, NOT_S3),
    ("CreateMultipartUpload", 200, {}, "<InitiateMultipartUploadResult/>", NOT_S3),
    ("DeleteObjects", 200, {}, "<DeleteResult></DeleteResult>", DONE),
    ("DeleteObjects", 200, {}, "<DeleteResult/>", DONE),
    ("ListParts", 200, {}, "<ListPartsResponse></ListPartsResponse>", DONE),  # as moto says it
    ("GetBucketVersioning", 200, {}, "<VersioningConfiguration/>", DONE),
    ("GetBucketVersioning", 200, {}, "<ListBucketResult></ListBucketResult>", NOT_S3),
    ("GetBucketVersioning", 200, {TYPE: "text/html"}, HTML, NOT_S3),
    ("GetBucketVersioning", 200, {}, "", NOT_S3),
    ("GetBucketEncryption", 200, {}, "<ListBucketResult></ListBucketResult>", DONE),
    ("GetBucketEncryption", 404, {TYPE: "text/plain"}, "default backend - 404", NOT_S3),
    ("GetObject", 200, {ETAG: '"e"', TYPE: "text/html"}, "", DONE),
    ("GetObject", 200, {TYPE: "text/html"}, "", NOT_S3),
    ("GetObject", 206, {}, "", DONE),
    ("GetObject", 200, {TYPE: "application/json"}, "", NOT_S3),
    ("GetObject", 200, {ETAG: '""'}, "", NOT_S3),
    ("GetObject", 304, {}, "", DONE),
    ("HeadObject", 200, {ETAG: '"e"'}, "", DONE),
    ("HeadObject", 200, {MARK: "1"}, "", NOT_S3),
    ("HeadObject", 101, {MARK: "1"}, "", NOT_S3),
    ("HeadObject", 404, {TYPE: "application/xml"}, "", REFUSED),
    ("HeadObject", 404, {MARK: "1"}, "", REFUSED),
    ("HeadObject", 404, {TYPE: "text/plain"}, "", NOT_S3),
    ("HeadObject", 404, {}, "", UNCLEAR),
    ("HeadObject", 503, {MARK: "1"}, "", UNKNOWN),
    ("HeadBucket", 200, {"x-amz-bucket-region": "r"}, "", DONE),
    ("HeadBucket", 200, {TYPE: "text/html"}, "", NOT_S3),
    ("HeadBucket", 200, {}, "", UNCLEAR),
    ("PutBucketPolicy", 204, {}, "", DONE),
    ("PutBucketVersioning", 200, {TYPE: "text/html"}, "", NOT_S3),
    ("", 200, {TYPE: "text/html"}, "", NOT_S3),
    ("", 200, {TYPE: "application/json"}, "", DONE),
]


@pytest.mark.semantics("Q-3a", "Q-8a", "Q-22")
@pytest.mark.parametrize(("operation", "status", "headers", "document", "meaning"), TABLE)
def test_what_an_answer_means(
    operation: str, status: int, headers: dict[str, str], document: str, meaning: Meaning
) -> None:
    method = OPERATIONS[operation].method if operation else "PUT"
    assert answers.judge(operation, method, status, CIMultiDict(headers), document.encode())[0] is meaning


def test_every_operation_of_the_table_is_one_of_s3() -> None:
    assert CONFIRMED.keys() <= OPERATIONS.keys()


def test_an_answer_is_read_where_its_document_decides() -> None:
    assert answers.reads("CopyObject", "PUT", 200)
    assert answers.reads("GetObject", "GET", 404)
    assert not answers.reads("GetObject", "GET", 200)
    assert not answers.reads("HeadObject", "HEAD", 404)
