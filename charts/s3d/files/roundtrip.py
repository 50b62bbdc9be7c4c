"""What `helm test` does in a pod with the sidecar: an object goes in at 127.0.0.1:33333 and comes out the same.

The endpoint is the one that the webhook gave to the container, so a pod without the sidecar fails at once. The object
is deleted again. Usage: roundtrip.py BUCKET KEY.
"""

import os
import sys

import botocore.session

bucket, key = sys.argv[1:]
endpoint = os.environ.get("AWS_ENDPOINT_URL_S3")
if not endpoint:
    sys.exit("AWS_ENDPOINT_URL_S3 is not set: the webhook did not give this pod the gateway")
if "AWS_SHARED_CREDENTIALS_FILE" not in os.environ:
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "helm-test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "helm-test")
client = botocore.session.Session().create_client(
    "s3", region_name=os.environ.get("AWS_REGION", "us-east-1"), endpoint_url=endpoint
)
sent = os.urandom(1 << 20)
client.put_object(Bucket=bucket, Key=key, Body=sent)
try:
    if client.get_object(Bucket=bucket, Key=key)["Body"].read() != sent:
        sys.exit(f"{endpoint} answered other bytes than it was given")
finally:
    client.delete_object(Bucket=bucket, Key=key)
print(f"{len(sent)} bytes went to {endpoint} and came back the same")
