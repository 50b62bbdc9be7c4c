"""What S3 answers to a call of an upload, or of a part, that is not there. Pure."""

from s3d.errors import S3Error


def no_such_upload(upload_id: str) -> S3Error:
    """The answer to an id that names no open upload."""
    return S3Error(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
        status=404,
        details={"UploadId": upload_id},
    )


def invalid_part(upload_id: str, number: int, etag: str) -> S3Error:
    """The answer to a Complete that names a part which is not there."""
    return S3Error(
        "InvalidPart",
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag.",
        details={"UploadId": upload_id, "PartNumber": str(number), "ETag": etag},
    )
