"""Gives each module of the queue the parts that it works with, and no others.

The parts are made when the queue is opened and live as long as it. A module says in its own `Context` what it uses;
`layer.py` makes the parts, and nobody else sees all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from s3d.api import S3
from s3d.client import Client
from s3d.clock import Clock
from s3d.feed import Feed
from s3d.layers.health import Health
from s3d.layers.queue import entry, parked
from s3d.layers.queue.ballast import Ballast
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.consent import Consent
from s3d.layers.queue.documents import Documents
from s3d.layers.queue.garbage import Garbage
from s3d.layers.queue.multipart import assembly, spill, upkeep
from s3d.layers.queue.owed import Owed
from s3d.layers.queue.push import change_body, confirm, conflicts, late_writes, pusher, send
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.serve import (
    bulk_deletes,
    copies,
    fitting,
    form_upload,
    forward,
    list_uploads,
    listing,
    multipart_calls,
    reads,
    tagging,
    writes,
)
from s3d.layers.queue.staging import Staging
from s3d.layers.queue.turns import Turns
from s3d.metrics import Metrics
from s3d.settings import Settings
from s3d.spans import Tracer
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
    facts: RemoteFacts
    feed: Feed
    capacity: Capacity
    ballast: Ballast
    staging: Staging
    garbage: Garbage
    consent: Consent
    wake: Callable[[], None]
    """Says to the pusher that there may be something to push."""
    queued: Callable[[float], None]
    """Says the same of what was queued, and when it is due, by the steady clock."""
    hand_over: pusher.HandOver | None
    tracer: Tracer | None
    """None: nothing is recorded."""
    documents: Documents


@dataclass(frozen=True, slots=True)
class Contexts:
    """What is handed to whom, by the module that serves calls or works in the background."""

    bulk_deletes: bulk_deletes.Context
    copies: copies.Context
    form_upload: form_upload.Context
    forward: forward.Context
    late_writes: late_writes.Context
    list_uploads: list_uploads.Context
    listing: listing.Context
    multipart_calls: multipart_calls.Context
    parked: parked.Context
    pusher: pusher.Context
    reads: reads.Context
    tagging: tagging.Context
    upkeep: upkeep.Context
    writes: writes.Context


def wire(whole: QueueContext) -> Contexts:
    """Hand the parts out."""
    settings = whole.settings.write_queue
    content = change_body.Context(db=whole.db, bodies=whole.bodies, staging=whole.staging)
    assembling = assembly.Context(
        db=whole.db,
        clock=whole.clock,
        bodies=whole.bodies,
        client=whole.client,
        capacity=whole.capacity,
        staging=whole.staging,
    )
    spilling = spill.Context(
        settings=settings,
        db=whole.db,
        inner=whole.inner,
        health=whole.health,
        staging=whole.staging,
        assembly=assembling,
        consent=whole.consent,
    )
    sending = send.Context(bodies=whole.bodies, client=whole.client, assembly=assembling)
    comparing = conflicts.Context(
        settings=settings,
        db=whole.db,
        clock=whole.clock,
        client=whole.client,
        metrics=whole.metrics,
        facts=whole.facts,
        send=sending,
    )
    confirming = confirm.Context(clock=whole.clock, client=whole.client, metrics=whole.metrics, content=content)
    entering = entry.Context(
        settings=settings,
        db=whole.db,
        health=whole.health,
        metrics=whole.metrics,
        facts=whole.facts,
        staging=whole.staging,
        consent=whole.consent,
    )
    forwarding = forward.Context(
        db=whole.db,
        clock=whole.clock,
        inner=whole.inner,
        client=whole.client,
        region=whole.region,
        facts=whole.facts,
        turns=whole.turns,
        staging=whole.staging,
        wake=whole.wake,
        entry=entering,
    )
    fits = fitting.Context(db=whole.db, client=whole.client, health=whole.health, facts=whole.facts, turns=whole.turns)
    reading = reads.Context(
        db=whole.db, inner=whole.inner, metrics=whole.metrics, facts=whole.facts, turns=whole.turns, content=content
    )
    writing = writes.Context(
        settings=settings,
        db=whole.db,
        clock=whole.clock,
        bodies=whole.bodies,
        capacity=whole.capacity,
        garbage=whole.garbage,
        facts=whole.facts,
        feed=whole.feed,
        queued=whole.queued,
        entry=entering,
        fitting=fits,
        forward=forwarding,
    )
    return Contexts(
        bulk_deletes=bulk_deletes.Context(
            inner=whole.inner,
            client=whole.client,
            capacity=whole.capacity,
            documents=whole.documents,
            facts=whole.facts,
            turns=whole.turns,
            wake=whole.wake,
            entry=entering,
            forward=forwarding,
            writes=writing,
        ),
        copies=copies.Context(
            db=whole.db,
            clock=whole.clock,
            bodies=whole.bodies,
            entry=entering,
            forward=forwarding,
            reads=reading,
            writes=writing,
        ),
        form_upload=form_upload.Context(bodies=whole.bodies, capacity=whole.capacity, entry=entering, writes=writing),
        forward=forwarding,
        late_writes=late_writes.Context(
            settings=settings,
            db=whole.db,
            clock=whole.clock,
            client=whole.client,
            health=whole.health,
            metrics=whole.metrics,
            garbage=whole.garbage,
            wake=whole.wake,
        ),
        list_uploads=list_uploads.Context(db=whole.db, inner=whole.inner, client=whole.client),
        listing=listing.Context(
            db=whole.db,
            inner=whole.inner,
            client=whole.client,
            facts=whole.facts,
            turns=whole.turns,
            forward=forwarding,
        ),
        multipart_calls=multipart_calls.Context(
            settings=settings,
            gateway=whole.settings.gateway,
            db=whole.db,
            clock=whole.clock,
            bodies=whole.bodies,
            inner=whole.inner,
            client=whole.client,
            capacity=whole.capacity,
            documents=whole.documents,
            facts=whole.facts,
            owed=whole.owed,
            staging=whole.staging,
            turns=whole.turns,
            entry=entering,
            fitting=fits,
            forward=forwarding,
            reads=reading,
            spill=spilling,
            writes=writing,
        ),
        parked=parked.Context(
            db=whole.db,
            clock=whole.clock,
            bodies=whole.bodies,
            metrics=whole.metrics,
            capacity=whole.capacity,
            staging=whole.staging,
            turns=whole.turns,
            feed=whole.feed,
            wake=whole.wake,
            content=content,
        ),
        pusher=pusher.Context(
            hand_over=whole.hand_over,
            content=content,
            tracer=whole.tracer,
            settings=settings,
            db=whole.db,
            clock=whole.clock,
            bodies=whole.bodies,
            health=whole.health,
            metrics=whole.metrics,
            capacity=whole.capacity,
            facts=whole.facts,
            feed=whole.feed,
            garbage=whole.garbage,
            owed=whole.owed,
            staging=whole.staging,
            turns=whole.turns,
            confirm=confirming,
            conflicts=comparing,
        ),
        reads=reading,
        tagging=tagging.Context(
            settings=settings,
            db=whole.db,
            clock=whole.clock,
            inner=whole.inner,
            capacity=whole.capacity,
            documents=whole.documents,
            facts=whole.facts,
            turns=whole.turns,
            wake=whole.wake,
            entry=entering,
            forward=forwarding,
        ),
        upkeep=upkeep.Context(
            settings=settings,
            db=whole.db,
            clock=whole.clock,
            health=whole.health,
            metrics=whole.metrics,
            capacity=whole.capacity,
            garbage=whole.garbage,
            staging=whole.staging,
            assembly=assembling,
            spill=spilling,
        ),
        writes=writing,
    )
