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
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from s3d import __version__
from s3d.cli.target import parse_count, parse_header, parse_metadata, parse_object, parse_pair, parse_target
from s3d.errors import ConfigError, S3DError, S3Error

FAILED, USAGE, UNREACHABLE, INTERRUPTED, CLOSED_PIPE = 1, 2, 69, 130, 141

DESCRIPTION = """\
A durable S3 gateway beside the application. Applications write to it as to any S3 store;
a write is on disk before it is answered, and reaches the remote when that can be reached.
"""
EPILOG = """\
examples:
  s3d run                                  start the gateway (its settings: s3d run --help)
  s3d put photo.jpg holiday/2026/a.jpg     store a file
  s3d put backup/notes < notes.txt         store what comes on stdin, also through a pipe
  s3d ls holiday/2026/                     list keys
  s3d get holiday/2026/a.jpg > a.jpg       read it back
  s3d status                               is the remote there, and what is still to be delivered?
  s3d doctor                               what is not as it should be, and what to do
  s3d ui                                   the same as a page for a browser, and what can be done about it
  s3d flush holiday                        wait until it is delivered
  s3d queue list                           what waits for a person: parked, held, damaged
  s3d cache stat                           how much is kept of what was read
  s3d mount status                         the mount, and what is no object yet
  s3d key new --read-only                  let somebody in who may only read (docs/ACCESS.md)
  s3d presign holiday/2026/a.jpg           a URL by which anybody may read it for an hour
  s3d filter test 'b, !b/tmp/*' b/tmp/x     what a list of rules says of an object

environment:
  S3D_ENDPOINT           the gateway's S3 door (http://localhost:33333)
  S3D_TLS_CA             a PEM file with the CA of an https:// door; unset: AWS_CA_BUNDLE, SSL_CERT_FILE, the system
  S3D_METRICS_ENDPOINT   its metrics door (http://127.0.0.1:33334)
  S3D_LOCAL_DIR          its local dir, where the socket for `status BUCKET/KEY` is (~/.local/state/s3d)
  S3D_ACCESS_KEYS_FILE   the door's access keys; commands sign with the first of them
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY   what they sign with where there is no such file
  S3D_CONFIG             a JSON or TOML file of these and all other settings; the environment wins
  NO_COLOR               no colours, also on a terminal

exit codes:
  0 done   1 failed   2 wrong usage   3 `status`: something is wrong   69 s3d or the remote cannot be reached
  75 changes are left   130 Ctrl-C
"""
STATUS = """\
examples:
  s3d status                       the daemon: remote, and what is pending
  s3d status holiday               one bucket
  s3d status holiday/2026/a.jpg    one object: delivered, or what its changes wait for
  s3d status --watch               the daemon again and again, until Ctrl-C
  s3d status --json | jq .pending.bytes

A bucket and an object are asked about over the socket in S3D_LOCAL_DIR, so this works where the
daemon runs and for its user. `delivered` means that nothing is pending here. Of the daemon, the exit code is 3 where
something is wrong; docs/OPERATING.md names all that may be.
"""
DOCTOR = """\
examples:
  s3d doctor                       settings, shell, ports, disk, remote, keys, clock, and the buckets in S3D_BUCKETS
  s3d doctor holiday               one more bucket
  s3d doctor --write holiday       whether it takes writes, and keeps their conditions

It reads the settings from the environment as `s3d run` does, and needs no daemon. Each line is ok, a note of what may
surprise, or wrong, with what to do; the exit code is 1 where something is wrong. Not on a terminal, its fields are
separated by tabs: grade, thing, what was found, what to do.
"""
TRACE = """\
examples:
  s3d trace 7                      when it was accepted, by which requests, how often it was tried, what it waits for
  s3d trace 7 --json | jq -r .requests[]

Requests that were recorded (docs/TELEMETRY.md) are named by trace and span, as the collector has them; the push links
to them. What is delivered is pending no more, and is found at the collector only. Not on a terminal, a line is: name
and value, separated by a tab.
"""
UI = """\
examples:
  s3d ui                           serve the status page, and print its address
  s3d ui --port 33335              on this port, for `kubectl port-forward POD 33335`

The page shows what `s3d status`, `s3d queue list` and `s3d cache ls` show, and a day of counts; what waits for a
person can be tried again or discarded there. It is served on 127.0.0.1 to whoever has the printed address, which
changes with each run. It asks the daemon over the socket in S3D_LOCAL_DIR, and ends with Ctrl-C.
"""
LS = """\
examples:
  s3d ls                           the buckets
  s3d ls holiday                   the first level of a bucket
  s3d ls holiday/2026/             what is under a prefix, as far as the next /
  s3d ls -r holiday/2026/          all keys under it
  s3d ls -r --json holiday | jq -r .key
  s3d ls -r --pending holiday      only what is not delivered yet, also while the remote is away

Not on a terminal, a line is: time, size in bytes, key, separated by tabs; - stands for what a
prefix does not have. --json prints one object a line, with the key byte for byte.
"""
GET = """\
examples:
  s3d get holiday/2026/a.jpg > a.jpg
  s3d get holiday/2026/a.jpg -o a.jpg       appears under its name when it is complete
  s3d get backup/src.tar -q | tar x

The body goes to stdout, headers and metadata go to stderr. An answer that ends early is an error.
"""
PUT = """\
examples:
  s3d put photo.jpg holiday/2026/a.jpg
  s3d put holiday/2026/a.jpg < photo.jpg
  tar c src | s3d put backup/src.tar        the same as: tar c src | s3d put - backup/src.tar
  s3d put report.bin docs/report --content-type application/pdf -m author=Ada --tag class=public

The key is stored as it is written: a//b, a/../b and d/ are keys of their own. Content-MD5 is sent, so that
what arrives is what was read. With one argument the data comes on stdin. S3 asks for the length first: a
file says it, also as stdin; more than 8 MiB through a pipe are copied to a temporary file first (TMPDIR).
Not on a terminal, the answer is: target, size in bytes, ETag and durability (local: on the disk
of the gateway; remote: the remote has it), separated by tabs.
"""
SET = """\
examples:
  s3d set holiday/2026/a.jpg --tag class=public --tag album=   adds or changes tags; album is empty
  s3d set holiday/2026/a.jpg --untag class                     removes one
  s3d set holiday --tag team=blue                              the tags of a bucket

Tags that are not named stay as they are: they are read, merged and written back, so that of two
people who do this at once the later one wins. The tags that result are printed.
"""
QUEUE = """\
examples:
  s3d queue list                              what waits for a person: parked, held, damaged, superseded
  s3d queue list holiday/2026/                the same under a prefix
  s3d queue why 7                             what each rule says of a change, and which holds it
  s3d queue retry holiday                     try what was refused again, and the bucket at once if it is paused
  s3d queue export holiday/2026/a.jpg -o /tmp writes change-N.json and change-N.body, never over a file
  s3d queue discard --seq 7 --yes             drop it for good

Not on a terminal, a line of `list` is: number, state, operation, size in bytes, BUCKET/KEY and why it
waits, separated by tabs. All of this is asked over the socket in S3D_LOCAL_DIR, where the daemon runs.
"""
CACHE = """\
examples:
  s3d cache stat                              how many objects, and how many bytes of the disk
  s3d cache ls holiday/2026/                  what is cached below a prefix
  s3d cache warm holiday/2026/                read what is not cached yet of a prefix, so that it will be
  s3d cache warm --rate 10 holiday            the same of a bucket, at 10 MB a second
  s3d cache verify                            compare all that is cached with its checksums
  s3d cache drop holiday                      drop what is cached of a bucket; it is fetched anew when it is read

Not on a terminal, a line of `ls` is: BUCKET/KEY, size in bytes, bytes on the disk, ETag, and when the remote
last confirmed it (Unix time), separated by tabs. One of `warm` is: BUCKET/KEY, what came of it (fetched,
cached before, pending, gone or failed) and bytes that were fetched. `verify` prints objects, blocks, bytes and
damaged blocks; where there are any, they are dropped, named on stderr, and the exit code is 1. `warm` reads
through the S3 door, with the key that the other commands sign with. The rest is asked over the socket in
S3D_LOCAL_DIR.
"""
SYNC = """\
examples:
  s3d sync status                             whether both sides are equal, and what is in the way
  s3d sync now                                look at both sides at once
  s3d sync diff                               what would be done now, a path a line
  s3d sync check                              compare all files of both sides anew, and change nothing
  s3d sync why report/may.txt                 what both sides have of a file, and what is done with it
  s3d sync conflicts                          copies that were kept because both sides were changed
  s3d sync wait --timeout 600                 look at both sides, and wait until they are equal
  s3d sync left                               names that are left alone or could not be synced, and why
  s3d sync pause                              stop, over restarts too, until `s3d sync resume`
  s3d sync resume --accept-deletes            what was deleted is meant: go on
  s3d sync resume --as-new                    delete nothing: compare both sides as two that never met
  s3d sync trash                              what was replaced or deleted in the folder
  s3d sync restore 0123456789abcdef           put it back under its name

The exit code of `status` and `wait` is 3 while the folder is halted, and that of `wait` is 75 when its time is over.
What is sent is in the write queue then: `s3d flush` waits for the remote. Not on a terminal, a line of `diff` is what
is done, a path and what it is besides; one of `left` and of `check` is a path and a reason, one of `conflicts` is a
copy, what it is of, since when (Unix time) and its size here and at the remote, and one of `trash` is an id, a path, a
size and when. The exit code of `check` is 1 where something differs. It is asked over the socket in S3D_LOCAL_DIR.
"""
MOUNT = """\
examples:
  s3d mount status                            is it there, and which files are no objects yet?
  s3d mount publish                           make objects of them now
  s3d mount recover -o /tmp/found             copy what was synced out of the local dir, also without a daemon

Not on a terminal, a line of `status` and `publish` is: BUCKET/KEY, size in bytes, synced or open, and why it is no
object, separated by tabs; of `recover`: the copy, BUCKET/KEY and size. `recover` takes nothing away.
"""
FLUSH = """\
examples:
  s3d flush                                   wait until everything that is pending now is delivered
  s3d flush holiday/2026/ --timeout 60        wait for a prefix, for a minute at most

The exit code is 0 when all of it is delivered, and 75 when the time is over, or when something of it is
parked, held or damaged: that is named. Writes that come meanwhile are not waited for.
"""
KEY = """\
examples:
  s3d key new                                 adds a key that may do everything, and shows its secret once
  s3d key new --id report --read-only --bucket sales
  s3d key ls                                  the keys and what they may do, without secrets
  s3d key rotate report                       gives it a second secret; the old one holds as well
  s3d key rotate report --finish              only the new one holds from now on
  s3d key test report                         signs a request to the door, and says what it answered

The keys are in the file that S3D_ACCESS_KEYS_FILE names, for the daemon and for these commands. The door takes over a
changed file within seconds, without a restart. To remove a key, remove its entry from the file.
Not on a terminal, `new` and `rotate` print the id and the secret, separated by a tab.
"""
PRESIGN = """\
examples:
  s3d presign holiday/2026/a.jpg                      whoever has the URL may read it for an hour
  s3d presign holiday/2026/a.jpg --expires 7d
  s3d presign holiday/upload.jpg --method PUT         they may write it: curl -T FILE "$URL"

It is signed with the first key of S3D_ACCESS_KEYS_FILE, else with AWS_ACCESS_KEY_ID; nothing is asked. It holds for
S3D_ENDPOINT as that is set here, and as long as the key has this secret. A door without keys looks at its time only.
"""
FILTER = """\
examples:
  s3d filter test 'photos, !photos/tmp/*' photos/tmp/a.jpg
  s3d filter test 'b/*[hdr:content-type=video/*]' b/clip --hdr content-type=video/mp4
  s3d filter test 'b[tag:team=blue]/*[tag:class!=secret]' b/k --bucket-tag team=blue --op delete

A rule that matches takes the object in, one that begins with ! leaves it out, and the last one that
matches decides. What is not known matches no rule: the tags, headers and metadata of a delete or a get,
if they are not named here, and the tags of a bucket. Then the answer may be `unknown`.
Where the settings here name a policy (S3D_OPA_URL), stderr says that it is asked as well.
Not on a terminal, a line is: rule, whether it matches, and what that means, separated by tabs; the last
line is the answer: yes, no or unknown. The forms of a rule are in docs/FILTERS.md.
"""
LOG = """\
examples:
  s3d log level debug              say everything, from now on
  s3d log level info               the usual

It holds until the daemon ends, or until S3D_LOG_LEVEL changes in its settings.json. What is asked is asked over
the socket in S3D_LOCAL_DIR, where the daemon runs.
"""
COMPLETION = """\
examples:
  eval "$(s3d completion bash)"                                   in ~/.bashrc
  eval "$(s3d completion zsh)"                                    in ~/.zshrc
  s3d completion fish > ~/.config/fish/completions/s3d.fish

Buckets and keys are those of the door at S3D_ENDPOINT, as far as it answers within two seconds.
"""
RUN = """\
examples:
  S3_ENDPOINT=http://127.0.0.1:9000 s3d run
  S3D_CONFIG=/etc/s3d.toml s3d run
  s3d run --check                  validate and show the settings, and end
  s3d run --drain                  deliver what another one left in S3D_LOCAL_DIR, and end

Credentials for the remote come as for any AWS client: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
a profile, or the role of the machine. SIGTERM delivers what is pending until S3D_DRAIN_SECONDS are
over; the exit code is 0 where nothing is left, else 75, and the next start delivers the rest. With
--drain SIGTERM ends it at once, and so does another s3d that waits for S3D_LOCAL_DIR; it ends by
itself when nothing is left but what waits for a person.

settings (environment, or the file that S3D_CONFIG names):
"""
CACHE_ACTIONS = {
    "stat": "show how much is cached",
    "ls": "list what is cached",
    "warm": "read what is not cached yet",
    "verify": "compare what is cached with its checksums, and drop what is damaged",
    "drop": "drop what is cached",
}
SYNC_ACTIONS = {
    "status": "show how the folder is doing",
    "now": "look at both sides at once",
    "diff": "list what would be done now",
    "check": "compare all files of both sides anew; the exit code is 1 where they differ",
    "why": "show what both sides have of a path, and what is done with it",
    "conflicts": "list the conflict copies that wait for somebody",
    "wait": "wait until both sides are equal",
    "pause": "stop, until it is resumed",
    "resume": "go on after a pause or a halt",
    "left": "list what is left alone, and why",
    "trash": "list what was replaced or deleted in the folder",
    "restore": "put a file of the trash back",
}
QUEUE_ACTIONS = {
    "list": "show what waits for a person",
    "why": "show what each rule says of a change, and which holds it",
    "retry": "try again what the remote refused",
    "export": "write bodies and members to files",
    "discard": "drop changes for good",
}
MOUNT_ACTIONS = {
    "status": "show whether it is there, and what is no object yet",
    "publish": "make objects of what was written",
    "recover": "copy what was synced and is no object yet",
}
FILTER_PAIRS = {
    "--tag": "a tag of the object",
    "--bucket-tag": "a tag of its bucket",
    "--hdr": "a header of the request that writes it",
    "--md": "metadata of the object",
}

KEY_ACTIONS = {
    "new": "add a key, and show its secret once",
    "ls": "list the keys, without their secrets",
    "rotate": "give a key another secret, beside the one that it has",
    "test": "ask the door whether it takes a key",
}


class Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal. argparse makes one for every argument that it learns of, and asks for the width by
    a module that takes longer to load than all of them."""

    def __init__(self, prog: str) -> None:
        """Take the name of the command."""
        super().__init__(prog, width=columns() - 2)


def columns() -> int:
    """The width that COLUMNS or the terminal has; 80 where there is neither."""
    with suppress(ValueError):
        if (told := int(os.environ.get("COLUMNS", ""))) > 0:
            return told
    with suppress(OSError):
        return os.get_terminal_size().columns or 80
    return 80


class Parser(argparse.ArgumentParser):
    """A parser that leaves its epilog as it is written, and can make it when somebody reads it."""

    def __init__(
        self,
        prog: str | None = None,
        *,
        late_epilog: Callable[[], str] | None = None,
        mixed: bool = False,
        **options: Any,
    ) -> None:
        """Take what ArgumentParser takes, what makes the epilog, and whether options may stand between arguments of
        which one may be left out."""
        super().__init__(prog, formatter_class=Help, allow_abbrev=False, **options)
        self.late_epilog = late_epilog
        self._mixed = mixed

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse. What argparse has for options between arguments parses twice, by this method."""
        if not self._mixed:
            return super().parse_known_args(args, namespace)
        self._mixed = False
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixed = True

    def format_help(self) -> str:
        """The help in full."""
        if self.late_epilog:
            self.epilog = self.late_epilog()
        return super().format_help()


def describe_settings() -> str:
    """The epilog of `run`; loading the settings' models takes a while."""
    from s3d.cli.run import reference

    return RUN + reference()


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


def parser() -> Parser:
    """The command line."""
    commands = Parser("s3d", description=DESCRIPTION, epilog=EPILOG)
    commands.add_argument("--version", action="version", version=f"s3d {__version__}")
    choices = commands.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(name: str, summary: str, **options: Any) -> Parser:
        return choices.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", **options)

    def add_json(command: Parser) -> None:
        command.add_argument("--json", action="store_true", help="print JSON, also on a terminal")

    command = add("run", "run the gateway", late_epilog=describe_settings)
    command.add_argument("--check", action="store_true", help="only validate the settings and show them")
    command.add_argument(
        "--drain", action="store_true", help="open no door for applications: deliver what is pending, and end"
    )
    command.add_argument("--insecure", action="store_true", help="the same as S3D_INSECURE=true")
    add_json(command)

    command = add("status", "show how the gateway, a bucket or an object is doing", epilog=STATUS)
    command.add_argument("target", nargs="?", type=parse_target, metavar="BUCKET[/KEY]", help="what to look at")
    command.add_argument("-w", "--watch", action="store_true", help="look every 2 s, until Ctrl-C")
    add_json(command)

    command = add("doctor", "try what s3d needs, and say what to do", epilog=DOCTOR)
    command.add_argument("target", nargs="?", type=parse_target, metavar="BUCKET", help="a bucket that it is to be for")
    command.add_argument("--write", action="store_true", help="put an object into the bucket, and delete it")
    add_json(command)

    command = add("trace", "show what has become of one pending change", epilog=TRACE)
    command.add_argument("seq", type=int, metavar="N", help="its number, as `s3d status` and `s3d queue list` show it")
    add_json(command)

    command = add("ui", "serve the status page for a browser", epilog=UI)
    command.add_argument("--port", type=int, default=0, metavar="N", help="where (default: a port that is free)")

    command = add("ls", "list the buckets, or the keys of one", epilog=LS)
    command.add_argument("target", nargs="?", type=parse_target, metavar="BUCKET[/PREFIX]", help="where to look")
    command.add_argument("-r", "--recursive", action="store_true", help="list every key, not the first level only")
    command.add_argument("--pending", action="store_true", help="only what is not delivered yet")
    add_json(command)

    command = add("get", "read an object", epilog=GET)
    command.add_argument("target", type=parse_object, metavar="BUCKET/KEY", help="what to read")
    command.add_argument("-o", "--output", default="-", metavar="FILE", help="where to (default: stdout)")
    command.add_argument("-q", "--quiet", action="store_true", help="no headers and metadata on stderr")

    command = add("put", "store a file, or what comes on stdin", epilog=PUT, mixed=True)
    command.add_argument("file", nargs="?", metavar="FILE|-", help="what to store (default: -, which is stdin)")
    command.add_argument("target", metavar="BUCKET/KEY", help="where to")
    command.add_argument(
        "-t", "--content-type", type=parse_header, metavar="TYPE", help="its media type (default: by the name)"
    )
    command.add_argument(
        "-m", "--metadata", action="append", default=[], type=parse_metadata, metavar="NAME=VALUE", help="metadata"
    )
    command.add_argument("--tag", action="append", default=[], type=parse_pair, metavar="NAME=VALUE", help="a tag")
    add_json(command)

    command = add("set", "change the tags of an object or a bucket", epilog=SET)
    command.add_argument("target", type=parse_target, metavar="BUCKET[/KEY]", help="whose")
    command.add_argument("--tag", action="append", default=[], type=parse_pair, metavar="NAME=VALUE", help="set a tag")
    command.add_argument("--untag", action="append", default=[], metavar="NAME", help="remove a tag")
    add_json(command)
    command = add("flush", "wait until what is pending now is delivered", epilog=FLUSH)
    command.add_argument("target", nargs="?", type=parse_target, metavar="BUCKET[/PREFIX]", help="of what")
    command.add_argument("--timeout", type=float, metavar="SECONDS", help="how long at most (default: for ever)")
    add_json(command)

    command = add("queue", "list, explain, retry, export or discard what waits for a person", epilog=QUEUE)
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, summary in QUEUE_ACTIONS.items():
        choice = actions.add_parser(action, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if action == "why":
            choice.add_argument("seq", type=int, metavar="N", help="its number, as `list` and `s3d status` show it")
            add_json(choice)
            continue
        choice.add_argument("target", nargs="?", type=parse_target, metavar="BUCKET[/PREFIX]", help="which")
        choice.add_argument("--seq", type=int, metavar="N", help="the one with this number")
        if action in ("retry", "discard"):
            choice.add_argument("--all", action="store_true", help="all of them, in every bucket")
        if action == "discard":
            choice.add_argument("--yes", action="store_true", help="do not ask")
        if action == "export":
            choice.add_argument("-o", "--output", default=".", metavar="DIRECTORY", help="where to (default: here)")
            choice.add_argument("--force", action="store_true", help="write over files that are there")
        add_json(choice)

    command = add("cache", "show, list, warm, verify or drop what is in the read cache", epilog=CACHE)
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, summary in CACHE_ACTIONS.items():
        choice = actions.add_parser(action, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if action != "stat":
            number = None if action == "warm" else "?"
            choice.add_argument("target", nargs=number, type=parse_target, metavar="BUCKET[/PREFIX]", help="of what")
        if action == "warm":
            choice.add_argument(
                "--max", type=parse_count, default=10_000, metavar="N", help="objects to fetch at most (default: 10000)"
            )
            choice.add_argument(
                "--parallel", type=parse_count, default=4, metavar="N", help="objects to read at once (default: 4)"
            )
            choice.add_argument(
                "--rate",
                type=float,
                default=100.0,
                metavar="MB",
                help="megabytes to fetch in a second, over all of them (default: 100; 0: as fast as they come)",
            )
        if action == "drop":
            choice.add_argument("--all", action="store_true", help="all of it")
        add_json(choice)

    command = add("sync", "show, pause or resume the sync folder, and its trash", epilog=SYNC)
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, summary in SYNC_ACTIONS.items():
        choice = actions.add_parser(action, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if action == "resume":
            meant = choice.add_mutually_exclusive_group()
            meant.add_argument("--as-new", action="store_true", help="forget what both sides had: nothing is deleted")
            meant.add_argument("--accept-deletes", action="store_true", help="do the next plan, whatever it deletes")
        if action == "wait":
            choice.add_argument("--timeout", type=float, metavar="SECONDS", help="how long at most (default: for ever)")
        if action == "restore":
            choice.add_argument("id", metavar="ID", help="its id, as `trash` shows it")
        if action == "why":
            choice.add_argument("path", metavar="PATH", help="below the folder, or from the root of the file system")
        add_json(choice)

    command = add("mount", "show, publish or recover what was written to the mount", epilog=MOUNT)
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, summary in MOUNT_ACTIONS.items():
        choice = actions.add_parser(action, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if action == "recover":
            choice.add_argument("-o", "--output", default=".", metavar="DIRECTORY", help="where to (default: here)")
        else:
            add_json(choice)

    command = add("key", "make, list, rotate or test the access keys of the S3 door", epilog=KEY)
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, summary in KEY_ACTIONS.items():
        choice = actions.add_parser(action, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if action in ("rotate", "test"):
            choice.add_argument("id", nargs="?" if action == "test" else None, metavar="ID", help="which key")
        if action == "new":
            choice.add_argument("--id", metavar="ID", help="its id (default: one that is made up)")
            choice.add_argument("--read-only", action="store_true", help="it may only read")
            choice.add_argument(
                "--bucket", action="append", metavar="BUCKET", help="a bucket that it may use (default: all)"
            )
            choice.add_argument(
                "--identity", metavar="NAME", help="on whose behalf its requests are made at the remote"
            )
        if action == "rotate":
            choice.add_argument("--finish", action="store_true", help="take the old secret away")
        if action != "test":
            add_json(choice)

    command = add("presign", "print a URL by which anybody may read or write one object", epilog=PRESIGN)
    command.add_argument("target", type=parse_object, metavar="BUCKET/KEY", help="which object")
    command.add_argument("--expires", default="1h", metavar="TIME", help="for how long, at most 7d (default: 1h)")
    command.add_argument("--method", default="GET", choices=("GET", "HEAD", "PUT", "DELETE"), help="to do what")

    command = add("filter", "try the rules of a filter", epilog=FILTER)
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "show what a list of rules says of an object, and which rule decides"
    choice = actions.add_parser("test", help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=FILTER)
    choice.add_argument("rules", metavar="RULES", help="the list, as a setting has it")
    choice.add_argument("target", type=parse_object, metavar="BUCKET/KEY", help="the object")
    for option, what in FILTER_PAIRS.items():
        choice.add_argument(option, action="append", default=[], type=parse_pair, metavar="NAME=VALUE", help=what)
    choice.add_argument("--size", type=int, metavar="BYTES", help="its size, which is the header content-length")
    choice.add_argument("--id", metavar="NAME", help="the identity that asks")
    choice.add_argument(
        "--op", choices=("put", "delete", "get"), default="put", help="what is done with it (default: put)"
    )
    add_json(choice)

    command = add("log", "change what the daemon logs, while it runs", epilog=LOG)
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "set the lowest level that is logged"
    choice = actions.add_parser("level", help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=LOG)
    choice.add_argument("level", choices=("debug", "info", "warning", "error"), help="the level")

    command = add("completion", "print what has a shell complete commands, buckets and keys", epilog=COMPLETION)
    command.add_argument("shell", choices=("bash", "zsh", "fish"), help="which shell")

    # Without help, so that it is not among the commands that a person is shown: a kubelet calls it.
    choices.add_parser("prestop", description="Say that the pod is being deleted: its grace period runs from now.")
    return commands
