"""The ETag that this gateway last saw for a key at the remote (SEMANTICS Q-18).

ETags are kept in memory, for the keys used last: a change takes its own along in the table, and what is forgotten is as
good as never seen. So is what a bucket is used for, new keys or known ones: that is a guess, and saves a request where
it is right. Nothing is asked here.
"""

from s3d.api import Call, Outcome, Reply
from s3d.protocol import answers

MAX_KEYS = 20_000
"""Keys whose ETag is kept in memory."""


class SeenEtags:
    """What was seen of objects at the remote."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._etags: dict[tuple[str, str], str] = {}
        self._rewritten: set[str] = set()
        """Buckets in which the last key that nobody had seen was there already."""

    def of(self, bucket: str, key: str) -> str | None:
        """The ETag that was last seen, without quotes; "" where no object was, None where nobody looked."""
        return self._etags.get((bucket, key))

    def saw(self, bucket: str, key: str, etag: str) -> None:
        """Note an ETag, "" for no object."""
        self._etags.pop((bucket, key), None)
        if len(self._etags) >= MAX_KEYS:
            del self._etags[next(iter(self._etags))]
        self._etags[bucket, key] = etag

    def forget(self, bucket: str, key: str) -> None:
        """Note that an object is another now, and nobody knows which."""
        self._etags.pop((bucket, key), None)

    def read(self, call: Call, reply: Reply, before: str | None) -> None:
        """Note what the remote showed by a GET or HEAD, unless something else was seen since `before`."""
        if not reply.is_remotes:
            return
        missing = reply.status == 404 and reply.outcome is Outcome.REFUSED
        etag = answers.etag_of(reply.headers.get("ETag", "")) if reply.outcome is Outcome.DONE else ""
        unchanged = call.params.get("VersionId") is None and self.of(call.bucket, call.key) == before
        if unchanged and (etag or missing):
            self.saw(call.bucket, call.key, etag)

    def found(self, bucket: str, *, there: bool) -> None:
        """Note whether a key that nobody had seen was there."""
        if there:
            self._rewritten.add(bucket)
        else:
            self._rewritten.discard(bucket)

    def expects_new(self, bucket: str) -> bool:
        """Whether a key of a bucket that nobody has seen is likely to be new."""
        return bucket not in self._rewritten
