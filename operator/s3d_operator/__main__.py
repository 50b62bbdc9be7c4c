"""The command line of the operator: `reconcile`, `webhook` and `crds`."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from s3d.errors import ConfigError

DESCRIPTION = """\
Gives pods a durable S3 gateway: the resources, the webhook that injects the sidecar, and the reconciler.

  webhook     answers the API server's reviews of new pods; run two or more
  reconcile   writes the status of S3Gateways and keeps the webhook's certificate; run one
  crds        writes the CustomResourceDefinitions (for developers)

`webhook` and `reconcile` find the API server by KUBECONFIG, or by their pod's service account. A pod opts in with the
label s3d.dev/inject: "true", a namespace with s3d.dev/injection=enabled.
"""


def parser() -> argparse.ArgumentParser:
    """The options of each command."""
    top = argparse.ArgumentParser(
        "s3d-operator", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    webhook = commands.add_parser("webhook", help="answer the reviews of new pods")
    reconcile = commands.add_parser("reconcile", help="write status, keep the certificate")
    crds = commands.add_parser("crds", help="write the CustomResourceDefinitions")
    for command, doors in ((webhook, "/healthz, /readyz and /metrics"), (reconcile, "/metrics")):
        command.add_argument("--namespace", help="where the operator lives (default: its own)")
        command.add_argument("--secret", default="s3d-webhook-tls", help="Secret of the certificate (%(default)s)")
        command.add_argument(
            "--health-port",
            type=int,
            default=8080,
            help=f"port of {doors} (%(default)s)",
        )
        command.add_argument("--image", required=True, help="image of the sidecar")
        command.add_argument("--pull-policy", default="IfNotPresent", choices=("Always", "IfNotPresent", "Never"))
    reconcile.add_argument(
        "--liveness-port", type=int, default=8081, help="port of the liveness probe, /healthz (%(default)s)"
    )
    webhook.add_argument("--port", type=int, default=10250, help="port of the reviews (%(default)s)")
    webhook.add_argument(
        "--shutdown-seconds", type=float, default=10, help="how long to serve on after SIGTERM (%(default)s)"
    )
    reconcile.add_argument("--service", default="s3d-webhook", help="Service of the webhook (%(default)s)")
    reconcile.add_argument(
        "--configuration", default="s3d", help="webhook configurations that get the CA, one of each kind (%(default)s)"
    )
    reconcile.add_argument(
        "--no-certificate",
        action="store_true",
        help="leave the Secret and the CA to others, such as cert-manager (default: make and publish them)",
    )
    for name, seconds, what in (
        ("lifetime", 7_776_000, "how long a certificate lives, in seconds (%(default)s: 90 days)"),
        ("renew-before", 2_592_000, "how long before its end the next one is made, in seconds (%(default)s: 30 days)"),
        ("settle", 60, "how long its CA is published before it is served, in seconds (%(default)s)"),
    ):
        reconcile.add_argument(f"--certificate-{name}", type=float, default=seconds, metavar="SECONDS", help=what)
    crds.add_argument(
        "directory",
        nargs="?",
        type=Path,
        default=Path("crds"),
        help="directory of the definitions (%(default)s); the chart beside it gets its template",
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; answer its exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    commands = {"webhook": run_webhook, "reconcile": run_reconcile, "crds": write_crds}
    try:
        return commands[options.command](options)
    except ConfigError as error:
        print(f"s3d-operator: {error.message}\n  {error.hint}", file=sys.stderr)
        return 2


def run_webhook(options: argparse.Namespace) -> int:
    """Serve reviews until SIGTERM."""
    from s3d_operator.access import find_access
    from s3d_operator.kube import Kube
    from s3d_operator.layout import Image
    from s3d_operator.webhook import Options, Webhook

    async def serve() -> None:
        access = await find_access()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with Kube(access, find_access) as kube:
            webhook = Webhook(
                kube,
                Options(
                    image=Image(options.image, options.pull_policy),
                    namespace=options.namespace or access.namespace,
                    secret=options.secret,
                    port=options.port,
                    health_port=options.health_port,
                    shutdown_seconds=options.shutdown_seconds,
                ),
            )
            await webhook.run(stop)

    asyncio.run(serve())
    return 0


def run_reconcile(options: argparse.Namespace) -> int:
    """Reconcile until SIGTERM."""
    from s3d_operator import reconcile
    from s3d_operator.access import find_access
    from s3d_operator.certs import CertificateTarget
    from s3d_operator.layout import Image
    from s3d_operator.rotation import Schedule

    lifetime, renew_before = options.certificate_lifetime, options.certificate_renew_before
    if not 0 < options.certificate_settle < renew_before < lifetime:
        raise ConfigError(
            "a certificate has to live for longer than --certificate-renew-before, and that for longer than "
            "--certificate-settle",
            hint="leave them out: 90 days, 30 days and 60 seconds suit most clusters",
        )
    schedule = Schedule(timedelta(seconds=lifetime), timedelta(seconds=renew_before), options.certificate_settle)

    async def serve() -> None:
        access = await find_access()
        target = CertificateTarget(
            options.namespace or access.namespace,
            options.service,
            options.secret,
            options.configuration,
            issued=not options.no_certificate,
        )
        image = Image(options.image, options.pull_policy)
        await reconcile.run(access, target, schedule, image, options.health_port, options.liveness_port)

    asyncio.run(serve())
    return 0


def write_crds(options: argparse.Namespace) -> int:
    """Write the generated files that are not what they should be."""
    from s3d_operator.crd import files

    for path, text in files().items():
        target = options.directory.parent / path
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
