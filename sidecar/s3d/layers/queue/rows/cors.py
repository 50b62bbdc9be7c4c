"""The CORS rules of buckets, kept for the time in which the remote is away (SEMANTICS R-12b).

All SQL on the table `cors`. Only rules that the remote has shown are in it, of a bounded number of buckets.
"""

import json
import time

import apsw

from s3d import documents
from s3d.access import cors
from s3d.access.cors import Rule
from s3d.layers.queue.rows import queries
from s3d.store.db import Database

SQL = queries.load("cors")
MAX_KEPT = 1_000
"""Buckets of which rules are kept."""


class CorsRows:
    """What is kept of buckets."""

    def __init__(self, db: Database) -> None:
        """Take the tables."""
        self._db = db

    def recall(self, bucket: str) -> tuple[Rule, ...]:
        """The rules of a bucket as they were kept last; none where nothing is, or where it cannot be read."""
        rows = self._db.read(SQL["rules"], (bucket,))
        try:
            return cors.of_configuration(documents.parse(rows[0][0])) if rows else ()
        except ValueError:
            return ()

    async def keep(self, bucket: str, rules: tuple[Rule, ...]) -> None:
        """Keep the rules of a bucket; where it has none, nothing. Raises StoreFailed."""
        if rules == self.recall(bucket):
            return
        row = (bucket, json.dumps(cors.to_configuration(rules)), time.time())

        def write(db: apsw.Connection) -> None:
            if rules:
                db.execute(SQL["keep"], row)
                db.execute(SQL["trim"], (MAX_KEPT,))
            else:
                db.execute(SQL["forget"], (bucket,))

        await self._db.write(write)
