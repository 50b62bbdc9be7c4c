"""The reconciler's look at sync folders: writes their status, and tells of those that are halted.

It asks no pod: what the gateways of the pods say is the round's, and the folder is a part of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from s3d_operator.choice import Gateway
from s3d_operator.events import COMPONENT, Events
from s3d_operator.folder_conditions import SHOW, SeenFolder, status_of
from s3d_operator.folders import folder_hash, read_folder
from s3d_operator.kube import FOLDERS, Kube, Object
from s3d_operator.names import API_VERSION
from s3d_operator.pods import Pod, Report
from s3d_operator.reasons import Reason
from s3d_operator.status import stamp


class FolderRounds:
    """What writes the status of folders."""

    def __init__(self, kube: Kube, events: Events) -> None:
        self._kube, self._events = kube, events

    async def write(
        self,
        raw: Object,
        gateways: Iterable[Gateway],
        pods: Sequence[Pod] | None,
        answers: Mapping[str, Report | None],
        reports: Mapping[str, Report],
        now: datetime,
    ) -> None:
        """Write the status of one folder where it is another one; without `pods` these are not known yet."""
        metadata, folder = raw["metadata"], read_folder(raw)
        own = [pod for pod in pods or () if is_of(pod, metadata)]
        name = metadata["name"]
        current = folder_hash(folder.spec) if folder.spec else ""
        seen = [
            SeenFolder(
                is_outdated=bool(current) and pod.folders[name].hash != current,
                listens=pod.listens,
                answers=answers.get(pod.uid) is not None,
                said=report.folders.get(pod.folders[name].called) if (report := reports.get(pod.uid)) else None,
            )
            for pod in own
        ]
        wanted = folder.spec.gateway_ref.name if folder.spec else ""
        gateway = next((each for each in gateways if each.name == wanted), None)
        status = status_of(raw, folder, gateway, None if pods is None else seen, now)
        known = {key: metadata[key] for key in ("name", "namespace", "uid")}
        if status != raw.get("status"):
            await self._kube.apply(FOLDERS, {"metadata": known, "status": status}, COMPONENT, part="status")
        for pod in own:
            report = answers.get(pod.uid)
            said = report.folders.get(pod.folders[name].called) if report else None
            if said and said.halt:
                since = stamp(datetime.fromtimestamp(said.since, UTC))
                text = (
                    f"the sync folder {name!r} of pod {pod.name} is halted since {since} "
                    f"({said.halt}): nothing is deleted or replaced there. {SHOW} says what to do"
                )
                for about in (pod.owner, {"apiVersion": API_VERSION, "kind": "SyncFolder"} | known):
                    await self._events.tell(about, Reason.FOLDER_HALTED, text)

    async def tell_ends(self, pods: Iterable[Pod], raws: Iterable[Object]) -> None:
        """Tell of pods that ended with files which were never sent, by the folders that went with them."""
        known = {(raw["metadata"]["namespace"], raw["metadata"]["name"]): raw["metadata"] for raw in raws}
        for pod in pods:
            unsent = pod.left.unsent if pod.left and not pod.is_expendable else ()
            for (name, folder), number in zip(pod.folders.items(), unsent, strict=False):
                if not number or folder.outlives:
                    continue
                text = (
                    f"pod {pod.name} of {pod.created} ended before {number} changes in its sync folder {name!r} were "
                    "sent, and its volume went with it"
                )
                await self._events.tell(pod.owner, Reason.FILES_LOST, text)
                if metadata := known.get((pod.namespace, name)):
                    about = {key: metadata[key] for key in ("name", "namespace", "uid")}
                    await self._events.tell(
                        {"apiVersion": API_VERSION, "kind": "SyncFolder"} | about, Reason.FILES_LOST, text
                    )


def is_of(pod: Pod, folder: Object) -> bool:
    """Whether a pod has a folder, by the folder's metadata, and its gateway is still to be asked about it."""
    is_named = pod.namespace == folder["namespace"] and folder["name"] in pod.folders
    return is_named and not pod.drains and (pod.listens or not pod.is_over)
