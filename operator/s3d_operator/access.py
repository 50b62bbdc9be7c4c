"""Where the API server is and who the operator is there, as the `kubernetes` package finds it out.

KUBECONFIG comes first, as with kubectl: tokens, certificates, exec plugins, OIDC and proxies, and several files with
colons between them. Without it the service account of the pod counts. What is found may run out: whoever uses it finds
it anew then (`Kube.renew`).
"""

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from s3d.errors import ConfigError

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Access:
    """An API server and the credentials for it."""

    configuration: Configuration
    namespace: str = "default"
    """The namespace of the kubeconfig's context, or of the pod."""
    expires: datetime | None = None
    """When an exec plugin says that its credentials run out."""


async def find_access() -> Access:
    """Find the API server and the credentials for it; an exec plugin runs.

    Raises ConfigError where nothing is found, or what is found cannot be used.
    """
    if path := os.environ.get("KUBECONFIG"):
        return await read_kubeconfig(path)
    return await asyncio.to_thread(read_service_account)


def read_service_account() -> Access:
    """Read the files of the pod's service account; the package reads its token anew. Raises ConfigError."""
    configuration = Configuration()
    try:
        load_incluster_config(configuration)
        namespace = NAMESPACE.read_text(encoding="utf-8").strip()
    except (ConfigException, OSError) as error:
        raise ConfigError(
            f"no API server is known: {error}", hint="set KUBECONFIG, or run in a pod with a service account"
        ) from error
    return Access(configuration, namespace)


async def read_kubeconfig(path: str) -> Access:
    """Read the current context of a kubeconfig. Raises ConfigError."""
    configuration = Configuration()
    try:
        loader = await load_kube_config(path, client_configuration=configuration, persist_config=False)
        context = loader.current_context["context"]
    except (ConfigException, OSError, LookupError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} cannot be used: {error!r}", hint="`kubectl config view` shows what it holds"
        ) from error
    # The package logs why an exec plugin failed, and goes on as nobody.
    if configuration.host.startswith("https:") and not (configuration.api_key or configuration.cert_file):
        raise ConfigError(
            f"{path} gives no credentials for {configuration.host}",
            hint="`kubectl auth whoami` uses the same ones; the log has what an exec plugin said",
        )
    expires = getattr(loader, "exec_plugin_expiry", None)
    return Access(configuration, context.get("namespace") or "default", expires and expires.astimezone(UTC))
