"""A Prometheus in the cluster that scrapes what the chart's monitors say and judges by the chart's rule.

There is no Prometheus operator in the cluster: `scrape_configs` does what that would do with a monitor, for the fields
that the chart uses and no others, so that a field nobody translated fails here instead of being ignored. And Debian's
Prometheus is built without discovery by Kubernetes: `discover` gives it the same targets, with the labels that would
have come from there, as files. What is kept of them, and under which labels, is decided by Prometheus.
"""

import itertools
import json
import subprocess
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import yaml

from e2e.cluster.kube import Object, get, kubectl, namespace_object

NAMESPACE = "s3d-prometheus"
NAME = "prometheus"
PORT = 9090
TARGETS = "/data/targets"
META = "__meta_kubernetes"


def only(given: Object, *known: str) -> Object:
    """A part of a monitor, all of whose fields are translated."""
    unknown = given.keys() - set(known)
    assert not unknown, f"nobody translates {unknown} for Prometheus"
    return given


def label(name: str) -> str:
    """A label of Kubernetes as Prometheus names it."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def keep(regex: str, *labels: str) -> Object:
    """Leave out what does not match."""
    return {"action": "keep", "source_labels": list(labels), "regex": regex}


def set_label(name: str, *labels: str) -> Object:
    """Say where a label comes from."""
    return {"target_label": name, "source_labels": list(labels)}


def selection(selector: Object, meta: str) -> Iterator[Object]:
    """Keep what a label selector matches."""
    for name, value in only(selector, "matchLabels", "matchExpressions").get("matchLabels", {}).items():
        yield keep(f"({value});true", f"{meta}_label_{label(name)}", f"{meta}_labelpresent_{label(name)}")
    for each in selector.get("matchExpressions", []):
        assert only(each, "key", "operator")["operator"] == "Exists", each
        yield keep("true", f"{meta}_labelpresent_{label(each['key'])}")


def scrape_configs(monitor: Object) -> Iterator[Object]:
    """What Prometheus is to scrape by a ServiceMonitor or a PodMonitor, as the Prometheus operator would tell it."""
    kind, metadata = monitor["kind"], monitor["metadata"]
    endpoints = {"ServiceMonitor": "endpoints", "PodMonitor": "podMetricsEndpoints"}[kind]
    spec = only(monitor["spec"], "selector", "namespaceSelector", endpoints)
    where = only(spec["namespaceSelector"], "any", "matchNames")
    names = [] if where.get("any") else [keep("|".join(where["matchNames"]), f"{META}_namespace")]
    for number, endpoint in enumerate(spec[endpoints]):
        only(endpoint, "port", "path", "interval", "honorLabels", "relabelings")
        if kind == "ServiceMonitor":
            port, job = f"{META}_endpointslice_port_name", set_label("job", f"{META}_service_name")
            more = [set_label("service", f"{META}_service_name")]
            selected = selection(spec["selector"], f"{META}_service")
        else:
            port = f"{META}_pod_container_port_name"
            job = {"target_label": "job", "replacement": f"{metadata['namespace']}/{metadata['name']}"}
            more = [{"action": "drop", "source_labels": [f"{META}_pod_phase"], "regex": "(Failed|Succeeded)"}]
            selected = selection(spec["selector"], f"{META}_pod")
        yield {
            "job_name": f"{kind}/{metadata['namespace']}/{metadata['name']}/{number}",
            "file_sd_configs": [{"files": [f"{TARGETS}/{kind}.json"], "refresh_interval": "1s"}],
            "metrics_path": endpoint["path"],
            "scrape_interval": endpoint["interval"],
            "honor_labels": endpoint.get("honorLabels", False),
            "relabel_configs": [
                *names,
                *selected,
                keep(endpoint["port"], port),
                set_label("namespace", f"{META}_namespace"),
                set_label("pod", f"{META}_pod_name"),
                set_label("container", f"{META}_pod_container_name"),
                job,
                {"target_label": "endpoint", "replacement": endpoint["port"]},
                *more,
                *map(relabeling, endpoint.get("relabelings", [])),
            ],
        }


def relabeling(given: Object) -> Object:
    """A relabeling of a monitor."""
    only(given, "sourceLabels", "targetLabel")
    return set_label(given["targetLabel"], *given["sourceLabels"])


def objects(monitors: Iterable[Object], rule: Object) -> Iterator[Object]:
    """Prometheus, in a namespace of its own."""
    config = {
        "global": {"evaluation_interval": "1s"},
        "rule_files": ["/etc/prometheus/rules.yaml"],
        "scrape_configs": [config for monitor in monitors for config in scrape_configs(monitor)],
    }
    metadata = {"name": NAME, "namespace": NAMESPACE}
    yield namespace_object(NAMESPACE)
    files = {"prometheus.yaml": yaml.safe_dump(config), "rules.yaml": yaml.safe_dump(rule["spec"])}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files}
    yield {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": NAME,
                    "image": "s3d-e2e/prometheus:e2e",
                    "imagePullPolicy": "Never",
                    "args": [
                        "--config.file=/etc/prometheus/prometheus.yaml",
                        "--storage.tsdb.path=/data",
                        f"--web.listen-address=:{PORT}",
                    ],
                    "readinessProbe": {"httpGet": {"path": "/-/ready", "port": PORT}, "periodSeconds": 1},
                    "volumeMounts": [
                        {"name": "config", "mountPath": "/etc/prometheus"},
                        {"name": "data", "mountPath": "/data"},
                    ],
                }
            ],
            "volumes": [{"name": "config", "configMap": {"name": NAME}}, {"name": "data", "emptyDir": {}}],
            "securityContext": {"fsGroup": 1000},
            "terminationGracePeriodSeconds": 1,
        },
    }


def labels_of(raw: Object, kind: str) -> dict[str, str]:
    """The labels of an object as Prometheus' discovery shows them."""
    labels = raw["metadata"].get("labels") or {}
    shown = {f"{META}_{kind}_label_{label(name)}": value for name, value in labels.items()}
    present = {f"{META}_{kind}_labelpresent_{label(name)}": "true" for name in labels}
    return {**shown, **present, f"{META}_namespace": raw["metadata"]["namespace"]}


def pods() -> Iterator[dict[str, str]]:
    """Each port of each container of each pod that has an address, as the role `pod` labels it."""
    for pod in get("--all-namespaces", "pods")["items"]:
        spec, status = pod["spec"], pod["status"]
        for container in [*spec["containers"], *spec.get("initContainers", [])] if "podIP" in status else []:
            for port in container.get("ports", []):
                yield {
                    **labels_of(pod, "pod"),
                    "__address__": f"{status['podIP']}:{port['containerPort']}",
                    f"{META}_pod_name": pod["metadata"]["name"],
                    f"{META}_pod_phase": status["phase"],
                    f"{META}_pod_container_name": container["name"],
                    f"{META}_pod_container_port_name": port.get("name", ""),
                }


def services() -> Iterator[dict[str, str]]:
    """Each port of each endpoint of each Service, as the role `endpointslice` labels it."""
    by_address = {labels["__address__"]: labels for labels in pods()}
    found = get("--all-namespaces", "services")["items"]
    known = {(raw["metadata"]["namespace"], raw["metadata"]["name"]): raw for raw in found}
    for each in get("--all-namespaces", "endpointslices")["items"]:
        service = known.get((each["metadata"]["namespace"], each["metadata"]["labels"]["kubernetes.io/service-name"]))
        if service is None:
            # A namespace goes in parts: its Service before what the Service led to.
            continue
        for endpoint, port in itertools.product(each.get("endpoints") or [], each.get("ports") or []):
            address = f"{endpoint['addresses'][0]}:{port['port']}"
            yield {
                **by_address.get(address, {}),
                **labels_of(service, "service"),
                "__address__": address,
                f"{META}_service_name": service["metadata"]["name"],
                f"{META}_endpointslice_port_name": port.get("name") or "",
            }


def discover() -> None:
    """Tell Prometheus what there is."""
    for kind, found in (("PodMonitor", pods()), ("ServiceMonitor", services())):
        targets = [{"targets": [labels.pop("__address__")], "labels": labels} for labels in found]
        # Renamed into its place, so that no half of it is read.
        words = f"mkdir -p {TARGETS} && cat >{TARGETS}/new && mv {TARGETS}/new {TARGETS}/{kind}.json"
        command = ["kubectl", "-n", NAMESPACE, "exec", "-i", NAME, "--", "sh", "-c", words]
        subprocess.run(command, input=json.dumps(targets), text=True, check=True, capture_output=True, timeout=60)


def ask(path: str) -> Object:
    """What Prometheus answers at a path of its API."""
    proxy = f"/api/v1/namespaces/{NAMESPACE}/pods/{NAME}:{PORT}/proxy/api/v1"
    answer: Object = json.loads(kubectl("get", "--raw", f"{proxy}/{path}"))
    assert answer["status"] == "success", answer
    return answer


def query(expression: str) -> list[dict[str, str]]:
    """The labels of each series that an expression finds now."""
    return [each["metric"] for each in ask(f"query?query={quote(expression, safe='')}")["data"]["result"]]


def measured() -> set[str]:
    """The names of all metrics that were scraped, those included of which there is no value yet."""
    values: list[str] = ask("label/__name__/values")["data"]
    described = ask("metadata")["data"]
    counters = {
        f"{name.removesuffix('_total')}_total" for name, each in described.items() if each[0]["type"] == "counter"
    }
    return {*values, *described, *counters}
