"""A JSON Patch of additions, made while a copy of the pod is edited. Pure."""

import copy
from typing import Any

from s3d_operator.layout import Object


class Edit:
    """`add` operations on a pod, each applied to a copy as it is made, so that the paths of the next ones are right."""

    __slots__ = ("operations", "pod")

    def __init__(self, pod: Object) -> None:
        self.pod = copy.deepcopy(pod)
        self.operations: list[Object] = []

    def at(self, *path: str | int) -> Any:
        """What is at a path."""
        node: Any = self.pod
        for step in path:
            node = node[step]
        return node

    def child(self, *path: str | int, default: Any) -> Any:
        """What is at a path, `default` being added where there is nothing."""
        parent = self.at(*path[:-1])
        if parent.get(path[-1]) is None:
            self.add(default, *path)
        return parent[path[-1]]

    def add(self, value: Any, *path: str | int) -> None:
        """Add a value: into a list before an index or at its end (`-`), or as a member of an object."""
        pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
        self.operations.append({"op": "add", "path": pointer, "value": copy.deepcopy(value)})
        parent, last = self.at(*path[:-1]), path[-1]
        if isinstance(parent, dict):
            parent[last] = copy.deepcopy(value)
        elif last == "-":
            parent.append(copy.deepcopy(value))
        else:
            parent.insert(last, copy.deepcopy(value))
