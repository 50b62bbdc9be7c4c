"""First in PYTHONPATH, opens every database with synchronous=OFF, after the daemon has asked for FULL."""

from pathlib import Path

import apsw

from s3d.store import opening

connect = opening.connect


def connect_unsynced(path: Path) -> apsw.Connection:
    connection = connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


opening.connect = connect_unsynced
