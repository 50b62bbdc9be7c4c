"""The CORS rules of buckets, remembered for the time in which the remote is away (SEMANTICS R-12b).

Nothing is asked here: the layer of CORS asks, and says what is to be remembered.
"""

import json
import time

from s3d import documents
from s3d.access import cors
from s3d.access.cors import Rule
from s3d.layers.queue.rows import cors as rows
from s3d.store.db import Database


class CorsRules:
    """What is remembered of buckets."""

    def __init__(self, db: Database) -> None:
        """Take the tables."""
        self._db = db

    def recall(self, bucket: str) -> tuple[Rule, ...]:
        """The rules of a bucket as they were kept last; none where nothing is, or where it cannot be read."""
        document = rows.remembered_rules(self._db, bucket)
        try:
            return () if document is None else cors.of_configuration(documents.parse(document))
        except ValueError:
            return ()

    async def keep(self, bucket: str, rules: tuple[Rule, ...]) -> None:
        """Keep the rules of a bucket; where it has none, nothing. Raises StoreFailed."""
        if rules == self.recall(bucket):
            return
        document = json.dumps(cors.to_configuration(rules))
        await self._db.write(rows.remember_rules(bucket, document, time.time()) if rules else rows.forget_rules(bucket))
