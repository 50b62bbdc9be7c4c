"""The class of each operation: what the queue does with it (SEMANTICS R-3).

Data only. An operation that is not in here does not exist for `model`, so a newer botocore's operations are unknown,
and wait for their key or bucket, until somebody has thought about them.
"""

from enum import StrEnum


class Class(StrEnum):
    """What the queue does with an operation."""

    QUEUE = "queue"
    OVERLAY = "overlay"
    LISTING = "merged listing"
    BARRIER_KEY = "barrier on a key"
    BARRIER_BUCKET = "barrier on a bucket"
    PASS = "pass through"  # noqa: S105
    REFUSE = "refuse"


OPERATIONS = {
    Class.QUEUE: """
        PutObject CopyObject DeleteObject DeleteObjects CreateMultipartUpload UploadPart UploadPartCopy
        CompleteMultipartUpload AbortMultipartUpload PutObjectTagging DeleteObjectTagging
    """,
    Class.OVERLAY: "GetObject HeadObject GetObjectAttributes GetObjectTagging",
    Class.LISTING: "ListObjects ListObjectsV2 ListObjectVersions ListMultipartUploads ListParts",
    # RenameObject waits for both of its keys.
    Class.BARRIER_KEY: """
        PutObjectAcl PutObjectRetention PutObjectLegalHold PutObjectAnnotation DeleteObjectAnnotation RestoreObject
        UpdateObjectEncryption RenameObject GetObjectAcl GetObjectRetention GetObjectLegalHold GetObjectAnnotation
        GetObjectTorrent ListObjectAnnotations SelectObjectContent
    """,
    # These change what a write that is still queued means.
    Class.BARRIER_BUCKET: """
        DeleteBucket PutBucketVersioning PutObjectLockConfiguration PutBucketEncryption DeleteBucketEncryption
        PutBucketOwnershipControls DeleteBucketOwnershipControls PutBucketAcl PutBucketPolicy DeleteBucketPolicy
        PutPublicAccessBlock DeletePublicAccessBlock PutBucketReplication DeleteBucketReplication PutBucketNotification
        PutBucketNotificationConfiguration PutBucketLifecycle PutBucketLifecycleConfiguration DeleteBucketLifecycle
        PutBucketAbac PutBucketLogging
    """,
    Class.PASS: """
        CreateBucket HeadBucket ListBuckets GetBucketLocation
        GetBucketAbac GetBucketAcl GetBucketEncryption GetBucketLifecycle GetBucketLifecycleConfiguration
        GetBucketLogging GetBucketNotification GetBucketNotificationConfiguration GetBucketOwnershipControls
        GetBucketPolicy GetBucketPolicyStatus GetBucketReplication GetBucketVersioning GetObjectLockConfiguration
        GetPublicAccessBlock
        GetBucketAccelerateConfiguration PutBucketAccelerateConfiguration
        GetBucketAnalyticsConfiguration PutBucketAnalyticsConfiguration DeleteBucketAnalyticsConfiguration
        ListBucketAnalyticsConfigurations
        GetBucketCors PutBucketCors DeleteBucketCors
        GetBucketIntelligentTieringConfiguration PutBucketIntelligentTieringConfiguration
        DeleteBucketIntelligentTieringConfiguration ListBucketIntelligentTieringConfigurations
        GetBucketInventoryConfiguration PutBucketInventoryConfiguration DeleteBucketInventoryConfiguration
        ListBucketInventoryConfigurations
        GetBucketMetadataConfiguration CreateBucketMetadataConfiguration DeleteBucketMetadataConfiguration
        GetBucketMetadataTableConfiguration CreateBucketMetadataTableConfiguration
        DeleteBucketMetadataTableConfiguration
        UpdateBucketMetadataAnnotationTableConfiguration UpdateBucketMetadataInventoryTableConfiguration
        UpdateBucketMetadataJournalTableConfiguration
        GetBucketMetricsConfiguration PutBucketMetricsConfiguration DeleteBucketMetricsConfiguration
        ListBucketMetricsConfigurations
        GetBucketRequestPayment PutBucketRequestPayment
        GetBucketTagging PutBucketTagging DeleteBucketTagging
        GetBucketWebsite PutBucketWebsite DeleteBucketWebsite
    """,
    Class.REFUSE: "CreateSession ListDirectoryBuckets WriteGetObjectResponse",
}
CLASSES = {name: klass for klass, names in OPERATIONS.items() for name in names.split()}
