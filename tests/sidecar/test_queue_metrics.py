import urllib.request
from pathlib import Path

from tests.daemons import Daemon


def test_how_full_the_queue_is_can_be_told_from_the_metrics(tmp_path: Path) -> None:
    away = {"S3_ENDPOINT": "http://127.0.0.1:9", "S3D_ANONYMOUS": "true", "S3D_BUCKETS": "b"}
    daemon = Daemon(tmp_path, {**away, "S3D_WRITE_QUEUE_MAX_SIZE": "1Mi", "S3D_WRITE_QUEUE_MAX_FILES": "4"})
    try:
        daemon.start()
        daemon.client().put_object(Bucket="b", Key="k", Body=bytes(1 << 18))
        with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=10) as answer:
            lines = [line.split(" ") for line in answer.read().decode().splitlines() if not line.startswith("#")]
    finally:
        daemon.kill()
    shown = {name: float(value) for name, value in lines}
    assert shown["s3d_queue_pending_bytes"] / shown["s3d_queue_limit_bytes"] == 0.25
    changes = sum(value for name, value in shown.items() if name.startswith("s3d_queue_pending_changes"))
    assert changes / shown["s3d_queue_limit_changes"] == 0.25
