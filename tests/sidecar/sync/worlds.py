"""A model of gateways with a folder each, one prefix and writers that nobody knows: for the planner alone.

Contents are short texts, each made once, so that one that is gone is missed by its name. What an action does is
modelled as the real ones do it: it looks at what is there when it acts, and not at what the plan saw.
"""

import hashlib
from dataclasses import dataclass, field, replace

from s3d.sync.moves import paired
from s3d.sync.names import conflict_copy
from s3d.sync.plan import Action, Direction, Do, Rules, plan
from s3d.sync.trees import Base, Content, Here, Kind, There


def content_of(data: str) -> Content:
    raw = data.encode()
    return Content(hashlib.sha256(raw).digest(), hashlib.md5(raw).hexdigest(), len(raw))


@dataclass
class Remote:
    """Objects by path: content, and an ETag that may be no MD5."""

    objects: dict[str, tuple[str, str]] = field(default_factory=dict)
    number: int = 0

    def put(self, path: str, data: str, *, in_parts: bool = False) -> str:
        self.number += 1
        etag = f"{content_of(data).md5}-{self.number}" if in_parts else content_of(data).md5
        self.objects[path] = (data, etag)
        return etag

    def etag(self, path: str) -> str:
        return self.objects[path][1] if path in self.objects else ""

    def tree(self) -> list[There]:
        return [There(path, etag, len(data)) for path, (data, etag) in sorted(self.objects.items())]


@dataclass
class Gateway:
    """A folder and what it has in common with the remote."""

    remote: Remote
    direction: Direction = Direction.BOTH
    files: dict[str, str] = field(default_factory=dict)
    base: dict[str, Base] = field(default_factory=dict)
    trash: list[str] = field(default_factory=list)

    def tree(self) -> list[Here]:
        directories = {path[:at] for path in self.files for at, letter in enumerate(path) if letter == "/"}
        names = [Here(path, content=content_of(data)) for path, data in self.files.items()]
        names += [Here(path, Kind.DIRECTORY) for path in directories]
        return sorted(names, key=lambda name: name.path)

    def plan(self, *, sees: float = 1.0) -> list[Action]:
        """Plan by what is listed now: a share of the remote, from its start."""
        there = self.remote.tree()
        shown = there[: round(len(there) * sees)]
        bases = [self.base[path] for path in sorted(self.base)]
        return paired([*plan(self.tree(), shown, bases, Rules(self.direction, there_is_whole=shown == there))])

    def run(self, actions: list[Action]) -> None:
        done: set[str] = set()
        for action in sorted(actions, key=lambda one: one.do in (Do.DROP_HERE, Do.DROP_THERE)):
            if action.goes_to and action.goes_to not in done:
                continue
            if self.act(action):
                done.add(action.path)

    def act(self, action: Action) -> bool:
        path, etag = action.path, self.remote.etag(action.path)
        if action.do is Do.FORGET:
            self.base.pop(path, None)
        elif action.do is Do.PUSH:
            if path not in self.files or etag != action.expects:
                return False
            if action.keeps:
                self.trash.append(self.remote.objects[path][0])
            self.know(path, self.remote.put(path, self.files[path]), self.files[path])
        elif action.do is Do.DROP_THERE:
            if etag != action.expects or path in self.files:
                return False
            self.remote.objects.pop(path, None)
            self.base.pop(path, None)
        elif etag != action.expects and action.do is not Do.DROP_HERE:
            return False
        elif action.do is Do.PULL:
            return self.pull(action)
        elif action.do is Do.ADOPT:
            if self.files.get(path) != self.remote.objects[path][0]:
                return False
            self.know(path, etag, self.files[path])
        elif action.do is Do.DROP_HERE:
            assert action.content
            if path not in self.files or content_of(self.files[path]) != action.content:
                return False
            self.trash.append(self.files.pop(path))
            self.base.pop(path, None)
        return True

    def pull(self, action: Action) -> bool:
        path = action.path
        if any(name.startswith(f"{path}/") or path.startswith(f"{name}/") for name in self.files):
            return False
        data, etag = self.remote.objects[path]
        displaced = self.files.get(path)
        self.files[path] = data
        self.know(path, etag, data)
        if displaced is None or displaced == data:
            return True
        if action.content == content_of(displaced):
            self.trash.append(displaced)
        else:
            self.keep_copy(path, displaced)
        return True

    def keep_copy(self, path: str, data: str) -> None:
        number = 1
        while self.files.get(name := conflict_copy(path, content_of(data).sha256, number), data) != data:
            number += 1
        self.files[name] = data

    def know(self, path: str, etag: str, data: str) -> None:
        before = self.base.get(path)
        former = (
            (before.etag, *before.former)[:8] if before and before.etag != etag else before.former if before else ()
        )
        self.base[path] = replace(Base(path, etag, content_of(data)), former=former)
