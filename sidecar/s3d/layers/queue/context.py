"""What the modules of the write queue share: the tables, the bodies, the remote, and who keeps order among them.

One is made when the queue is opened and lives as long as the queue. It decides nothing.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from s3d.api import S3, Call, Reply
from s3d.client import Client
from s3d.clock import Clock
from s3d.layers.health import Health
from s3d.layers.queue.ballast import Ballast
from s3d.layers.queue.buckets import Buckets
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.documents import Documents
from s3d.layers.queue.garbage import Garbage
from s3d.layers.queue.learning import Learning
from s3d.layers.queue.owed import Owed
from s3d.layers.queue.rows.write_profiles import WriteProfiles
from s3d.layers.queue.seen_etags import SeenEtags
from s3d.layers.queue.staging import Staging
from s3d.layers.queue.turns import Turns
from s3d.metrics import Metrics
from s3d.settings import Settings
from s3d.store.bodies import Bodies
from s3d.store.db import Database


@dataclass(frozen=True, slots=True)
class QueueContext:
    """What the queue is made of."""

    settings: Settings
    db: Database
    clock: Clock
    """What waits goes by it."""
    bodies: Bodies
    inner: S3
    client: Client
    """Of what is inside: by it the queue asks for itself."""
    health: Health
    region: str
    """The remote's."""
    metrics: Metrics
    owed: Owed
    turns: Turns
    buckets: Buckets
    capacity: Capacity
    ballast: Ballast
    profiles: WriteProfiles
    learning: Learning
    seen_etags: SeenEtags
    staging: Staging
    garbage: Garbage
    wake: Callable[[], None]
    """Says to the pusher that there may be something to push."""
    documents: Documents


Handler = Callable[[QueueContext, Call], Awaitable[Reply]]
"""Serves the calls of one operation."""
