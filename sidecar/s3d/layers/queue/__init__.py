"""The write queue: accepts a write durably, shows it at once and delivers it when the remote is there."""

from s3d.layers.queue.asking import text_of
from s3d.layers.queue.judging import Origin
from s3d.layers.queue.layer import Queue, open_queue
from s3d.layers.queue.rows.states import ON_THE_WAY
from s3d.layers.queue.serve.form_upload import without_queue

__all__ = ["ON_THE_WAY", "Origin", "Queue", "open_queue", "text_of", "without_queue"]
