"""The command `s3d`.

Each command's module is loaded when it is called: asking for help loads argparse and nothing else of weight, a client
command loads an HTTP client of the standard library, and only `run` loads the daemon. Exit codes: 0 done, 1 the request
failed, 2 the command line or the settings are wrong, 3 `status` says that something is wrong with the daemon, 69 s3d or
the remote cannot be reached (EX_UNAVAILABLE), 130 ended by Ctrl-C, 141 by a closed pipe; `run` and `flush` end with 75
where changes are left (EX_TEMPFAIL).
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from s3d.cli.commands import parser
from s3d.errors import ConfigError, S3DError, S3Error

FAILED, USAGE, UNREACHABLE, INTERRUPTED, CLOSED_PIPE = 1, 2, 69, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")
    commands = parser()
    if "_ARGCOMPLETE" in os.environ:
        from s3d.cli.completion import complete

        complete(commands)
    options = commands.parse_args(argv)
    if not options.command:
        commands.print_help(sys.stderr)
        return USAGE
    try:
        code = call(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at its end, into a pipe that nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except S3DError as error:
        return explain(error)
    except OSError as error:
        from s3d.cli import terminal

        where = f"{error.filename}: " if error.filename else ""
        terminal.complain(f"{where}{error.strerror or error}")
        return FAILED
    return code


def call(options: argparse.Namespace) -> int:
    """Load the command's module and call it."""
    match options.command:
        case "run":
            from s3d.cli.run import run

            return run(options)
        case "status":
            from s3d.cli.status import status

            return status(options)
        case "doctor":
            from s3d.cli.doctor import doctor

            return doctor(options)
        case "trace":
            from s3d.cli.trace import trace

            return trace(options)
        case "ui":
            from s3d.cli.ui.server import ui

            return ui(options)
        case "queue":
            from s3d.cli.queue import queue

            return queue(options)
        case "cache":
            from s3d.cli.cache import cache

            return cache(options)
        case "sync":
            from s3d.cli.sync import sync

            return sync(options)
        case "mount":
            from s3d.cli.mount import mount

            return mount(options)
        case "flush":
            from s3d.cli.queue import flush

            return flush(options)
        case "key":
            from s3d.cli.keys import key

            return key(options)
        case "presign":
            from s3d.cli.keys import presign

            return presign(options)
        case "filter":
            from s3d.cli import filters

            return filters.test(options)
        case "log":
            from s3d.cli.queue import log_level

            return log_level(options.level)
        case "completion":
            from s3d.cli.completion import completion

            return completion(options)
        case "prestop":
            from s3d.cli.queue import prestop

            return prestop()
        case name:
            from s3d.cli import objects

            return {"ls": objects.ls, "get": objects.get, "put": objects.put, "set": objects.set_tags}[name](options)


def explain(error: S3DError) -> int:
    """Tell the person what went wrong; return the exit code."""
    from s3d.cli import terminal

    terminal.complain(str(error), error.hint)
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, S3Error):
        return UNREACHABLE if error.status == 503 else FAILED
    from s3d.cli.client import NotRunning

    return UNREACHABLE if isinstance(error, NotRunning) else FAILED
