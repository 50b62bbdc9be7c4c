"""Operations on buckets."""

from s3d.errors import S3Error
from tests.fakes.contents import OWNER, Bucket, Contents, Request, Response, moment, shown_tags, tags_of


class Buckets(Contents):
    """What is asked of a bucket."""

    def create_bucket(self, request: Request) -> Response:
        name = request.params["Bucket"]
        if name in self.buckets:
            raise S3Error("BucketAlreadyOwnedByYou", "You own it already", status=409)
        self.buckets[name] = Bucket(name, self._now())
        return Response(headers={"Location": f"/{name}"})

    def delete_bucket(self, request: Request) -> Response:
        bucket = self.bucket(request)
        if any(bucket.keys.values()):
            raise S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty", status=409)
        del self.buckets[bucket.name]
        return Response(status=204)

    def head_bucket(self, request: Request) -> Response:
        self.bucket(request)
        return Response(headers={"x-amz-bucket-region": "us-east-1"})

    def list_buckets(self, request: Request) -> Response:
        buckets = [{"Name": b.name, "CreationDate": moment(b.made)} for _, b in sorted(self.buckets.items())]
        return Response({"Buckets": buckets, "Owner": OWNER})

    def get_bucket_location(self, request: Request) -> Response:
        self.bucket(request)
        return Response({"LocationConstraint": ""})

    def get_bucket_versioning(self, request: Request) -> Response:
        status = self.bucket(request).versioning
        return Response({"Status": status} if status else {})

    def put_bucket_versioning(self, request: Request) -> Response:
        self.bucket(request).versioning = request.params["VersioningConfiguration"]["Status"]
        return Response()

    def get_object_lock_configuration(self, request: Request) -> Response:
        self.bucket(request)
        raise S3Error("ObjectLockConfigurationNotFoundError", "No object lock here", status=404)

    def get_bucket_encryption(self, request: Request) -> Response:
        found = self.bucket(request).encryption
        if found is None:
            raise S3Error("ServerSideEncryptionConfigurationNotFoundError", "No encryption here", status=404)
        return Response({"ServerSideEncryptionConfiguration": found})

    def get_bucket_tagging(self, request: Request) -> Response:
        tags = self.bucket(request).tags
        if not tags:
            raise S3Error("NoSuchTagSet", "The TagSet does not exist", status=404)
        return Response({"TagSet": shown_tags(tags)})

    def put_bucket_tagging(self, request: Request) -> Response:
        self.bucket(request).tags = tags_of(request.params["Tagging"])
        return Response(status=204)

    def delete_bucket_tagging(self, request: Request) -> Response:
        self.bucket(request).tags = ()
        return Response(status=204)
