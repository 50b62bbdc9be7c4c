"""The command line: each command, its arguments and its actions. Loads nothing of weight."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from s3d import __version__
from s3d.cli import examples
from s3d.cli.parsing import Parser
from s3d.cli.target import parse_count, parse_header, parse_metadata, parse_object, parse_pair, parse_target

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
FILTER_ACTIONS = {"test": "show what a list of rules says of an object, and which rule decides"}
LOG_ACTIONS = {"level": "set the lowest level that is logged"}
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


def describe_settings() -> str:
    """The epilog of `run`; loading the settings' models takes a while."""
    from s3d.cli.run import reference

    return examples.RUN + reference()


def parser() -> Parser:
    """The command line."""
    commands = Parser("s3d", description=examples.DESCRIPTION, epilog=examples.EPILOG)
    commands.add_argument("--version", action="version", version=f"s3d {__version__}")
    choices = commands.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(name: str, summary: str, *, to: Any = choices, **options: Any) -> Parser:
        return cast(
            Parser, to.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", **options)
        )

    def actions_of(command: Parser, summaries: Mapping[str, str]) -> Iterator[tuple[str, Parser]]:
        actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
        name = command.prog.removeprefix("s3d ")
        for action, summary in summaries.items():
            epilog = examples.of_action(command.epilog or "", f"{name} {action}")
            yield action, add(action, summary, to=actions, epilog=epilog)

    def add_json(command: Parser) -> None:
        command.add_argument("--json", action="store_true", help="print JSON, also on a terminal")

    command = add("run", "run the gateway", late_epilog=describe_settings)
    command.add_argument("--check", action="store_true", help="only validate the settings and show them")
    command.add_argument(
        "--drain", action="store_true", help="open no door for applications: deliver what is pending, and end"
    )
    command.add_argument("--insecure", action="store_true", help="the same as S3D_INSECURE=true")
    add_json(command)

    command = add("status", "show how the gateway, a bucket or an object is doing", epilog=examples.STATUS)
    command.add_argument(
        "target", nargs="?", type=parse_target, metavar="BUCKET[/KEY]", help="of what (default: the daemon)"
    )
    command.add_argument("-w", "--watch", action="store_true", help="look every 2 s, until Ctrl-C")
    add_json(command)

    command = add("doctor", "try what s3d needs, and say what to do", epilog=examples.DOCTOR)
    command.add_argument("target", nargs="?", type=parse_target, metavar="BUCKET", help="a bucket to try, too")
    command.add_argument("--write", action="store_true", help="put an object into the bucket, and delete it")
    add_json(command)

    command = add("trace", "show what has become of one pending change", epilog=examples.TRACE)
    command.add_argument("seq", type=int, metavar="N", help="its number, as `s3d status` and `s3d queue list` show it")
    add_json(command)

    command = add("ui", "serve the status page for a browser", epilog=examples.UI)
    command.add_argument("--port", type=int, default=0, metavar="N", help="where (default: a port that is free)")

    command = add("ls", "list the buckets, or the keys of one", epilog=examples.LS)
    command.add_argument(
        "target", nargs="?", type=parse_target, metavar="BUCKET[/PREFIX]", help="of what (default: the buckets)"
    )
    command.add_argument("-r", "--recursive", action="store_true", help="list every key, not the first level only")
    command.add_argument("--pending", action="store_true", help="only what is not delivered yet")
    add_json(command)

    command = add("get", "read an object", epilog=examples.GET)
    command.add_argument("target", type=parse_object, metavar="BUCKET/KEY", help="what to read")
    command.add_argument("-o", "--output", default="-", metavar="FILE", help="where to (default: stdout)")
    command.add_argument("-q", "--quiet", action="store_true", help="no headers and metadata on stderr")

    command = add("put", "store a file, or what comes on stdin", epilog=examples.PUT, mixed=True)
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

    command = add("set", "change the tags of an object or a bucket", epilog=examples.SET)
    command.add_argument("target", type=parse_target, metavar="BUCKET[/KEY]", help="whose tags")
    command.add_argument("--tag", action="append", default=[], type=parse_pair, metavar="NAME=VALUE", help="set a tag")
    command.add_argument("--untag", action="append", default=[], metavar="NAME", help="remove a tag")
    add_json(command)
    command = add("flush", "wait until what is pending now is delivered", epilog=examples.FLUSH)
    command.add_argument(
        "target", nargs="?", type=parse_target, metavar="BUCKET[/PREFIX]", help="of what (default: all)"
    )
    command.add_argument("--timeout", type=float, metavar="SECONDS", help="how long at most (default: for ever)")
    add_json(command)

    command = add("queue", "list, explain, retry, export or discard what waits for a person", epilog=examples.QUEUE)
    for action, choice in actions_of(command, QUEUE_ACTIONS):
        if action == "why":
            choice.add_argument("seq", type=int, metavar="N", help="its number, as `list` and `s3d status` show it")
            add_json(choice)
            continue
        choice.add_argument(
            "target", nargs="?", type=parse_target, metavar="BUCKET[/PREFIX]", help="those of a bucket or prefix"
        )
        choice.add_argument("--seq", type=int, metavar="N", help="the one with this number")
        if action in ("retry", "discard"):
            choice.add_argument("--all", action="store_true", help="all of them, in every bucket")
        if action == "discard":
            choice.add_argument("--yes", action="store_true", help="do not ask")
        if action == "export":
            choice.add_argument("-o", "--output", default=".", metavar="DIRECTORY", help="where to (default: here)")
            choice.add_argument("--force", action="store_true", help="write over files that are there")
        add_json(choice)

    command = add("cache", "show, list, warm, verify or drop what is in the read cache", epilog=examples.CACHE)
    for action, choice in actions_of(command, CACHE_ACTIONS):
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

    command = add("sync", "show, pause or resume the sync folders, and their trash", epilog=examples.SYNC)
    for action, choice in actions_of(command, SYNC_ACTIONS):
        which = "of which one: its name, or a path in it"
        choice.add_argument("--folder", action="append", default=[], metavar="NAME", help=which)
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

    command = add("mount", "show, publish or recover what was written to the mount", epilog=examples.MOUNT)
    for action, choice in actions_of(command, MOUNT_ACTIONS):
        if action == "recover":
            choice.add_argument("-o", "--output", default=".", metavar="DIRECTORY", help="where to (default: here)")
        else:
            add_json(choice)

    command = add("key", "make, list, rotate or test the access keys of the S3 door", epilog=examples.KEY)
    for action, choice in actions_of(command, KEY_ACTIONS):
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

    command = add("presign", "print a URL by which anybody may read or write one object", epilog=examples.PRESIGN)
    command.add_argument("target", type=parse_object, metavar="BUCKET/KEY", help="which object")
    command.add_argument("--expires", default="1h", metavar="TIME", help="for how long, at most 7d (default: 1h)")
    command.add_argument("--method", default="GET", choices=("GET", "HEAD", "PUT", "DELETE"), help="to do what")

    command = add("filter", "try the rules of a filter", epilog=examples.FILTER)
    ((_, choice),) = actions_of(command, FILTER_ACTIONS)
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

    command = add("log", "change what the daemon logs, while it runs", epilog=examples.LOG)
    ((_, choice),) = actions_of(command, LOG_ACTIONS)
    choice.add_argument("level", choices=("debug", "info", "warning", "error"), help="the level")

    command = add(
        "completion", "print what has a shell complete commands, buckets and keys", epilog=examples.COMPLETION
    )
    command.add_argument("shell", choices=("bash", "zsh", "fish"), help="which shell")

    # Without help, so that it is not among the commands that a person is shown: a kubelet calls it.
    choices.add_parser("prestop", description="Say that the pod is being deleted: its grace period runs from now.")
    return commands
