"""Reads one XML document, of a client or of a remote, into botocore's members, within bounds.

It is read with expat and not with xml.etree: its handlers let depth, number of elements and any document type be
refused while they come, and fill the result without a tree in between. What the model does not know is left out, and
named.
"""

from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from s3d.protocol.model import Shape

MAX_DEPTH = 16
PIECE_BYTES = 4 << 10
"""Bytes of a document that are read at a time."""
MAX_TAG = 16 * PIECE_BYTES
"""Bytes of a tag with its attributes, which is handed over only when it is whole."""
ENCODINGS = frozenset(["utf-8", "us-ascii"])
"""What a document may say that it is written in."""


class Document:
    """Reads one document into the members of `shape`; with no shape, the texts of the root's children by name."""

    __slots__ = ("_elements", "_frames", "_left", "_parser", "_text", "_text_root", "root", "unknown", "value")

    def __init__(self, shape: Shape | None, *, text_root: bool = False) -> None:
        """Take what the root element holds; with `text_root`, its text is the only member."""
        self.root = ""
        self.value: dict[str, Any] = {}
        self.unknown: list[str] = []
        self._text_root = text_root
        self._text: list[str] = []
        # Of each open element: its shape (None: not in the model), its container, and where its text goes.
        self._frames: list[tuple[Shape | None, Any, str]] = [(shape, self.value, "")]
        self._left = 0
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = self._doctype
        parser.XmlDeclHandler = self._declaration
        self._parser: Any = parser

    def read(self, data: bytes, most_bytes: int, most_elements: int) -> None:
        """Read the whole document. Raises ValueError with the reason."""
        for _ in self.steps(data, most_bytes, most_elements):
            pass

    def steps(self, data: bytes, most_bytes: int, most_elements: int) -> Iterator[None]:
        """Read a piece of the document between two yields, until it is whole. Raises ValueError with the reason."""
        if len(data) > most_bytes:
            raise ValueError(f"it is larger than {most_bytes} bytes")
        self._left = most_elements
        # It holds our methods: with a name of it here, all that was read would stay until the garbage is collected.
        parser, self._parser = self._parser, None
        view = memoryview(data)
        end = 0
        while end < len(data) or not end:
            start, end = end, min(len(data), end + PIECE_BYTES) or 1
            try:
                parser.Parse(view[start:end], end >= len(data))
            except (expat.ExpatError, UnicodeDecodeError) as unreadable:
                raise ValueError(str(unreadable)) from None
            if end - parser.CurrentByteIndex > MAX_TAG:
                raise ValueError(f"it has a tag or a comment of more than {MAX_TAG} bytes")
            yield

    def _declaration(self, _: str, encoding: str | None, __: int) -> None:
        # Another encoding would be looked up among Python's codecs, of which some are no encodings of text.
        if encoding is not None and encoding.lower() not in ENCODINGS:
            raise ValueError(f"its encoding is {encoding!r}, not UTF-8")

    def _doctype(self, *_: object) -> None:
        raise ValueError("a document type is not allowed")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._left -= 1 + len(attributes)
        if self._left < 0:
            raise ValueError("it has too many elements")
        if len(self._frames) > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        self._text.clear()
        name = name.rpartition(":")[2]
        shape, container, _ = self._frames[-1]
        if len(self._frames) == 1:
            self.root = name
            if self._text_root and shape is not None:
                only = next(iter(shape.members.values()))
                self._frames.append((only.shape, container, only.name))
            else:
                self._frames.append((shape, container, ""))
                self._attributes(shape, container, attributes)
            return
        if shape is None:
            # Without a model, the root's children are texts.
            self._frames.append((None, container if len(self._frames) == 2 else None, name))
            return
        if shape.kind == "list":
            if name != shape.item_name or shape.item is None:
                self._skip(name)
                return
            self._open(shape.item, container, None, attributes)
            return
        member = shape.elements.get(name) if shape.kind == "structure" else None
        if member is None:
            self._skip(name)
        elif member.shape.flattened and member.shape.item is not None:
            self._open(member.shape.item, container.setdefault(member.name, []), None, attributes)
        else:
            self._open(member.shape, container, member.name, attributes)

    def _open(self, shape: Shape, container: Any, name: str | None, attributes: dict[str, str]) -> None:
        """Enter an element whose value goes to `container` by `name`, or at its end where it is a list."""
        if shape.kind not in ("structure", "list"):
            self._frames.append((shape, container, name or ""))
            return
        inner: Any = {} if shape.kind == "structure" else []
        if name is None:
            container.append(inner)
        else:
            container[name] = inner
        self._frames.append((shape, inner, ""))
        self._attributes(shape, inner, attributes)

    def _attributes(self, shape: Shape | None, container: dict[str, Any], attributes: dict[str, str]) -> None:
        if attributes and shape is not None:
            for member in shape.attributes:
                if member.wire in attributes:
                    container[member.name] = attributes[member.wire]

    def _skip(self, name: str) -> None:
        self.unknown.append(name)
        self._frames.append((None, None, name))

    def _end(self, _: str) -> None:
        shape, container, name = self._frames.pop()
        if shape is None:
            if container is not None and name:
                container[name] = "".join(self._text)
        elif shape.parse is not None and shape.kind != "list":
            text = "".join(self._text)
            if text or shape.kind == "string":
                value = shape.parse(text)
                if isinstance(container, list):
                    container.append(value)
                else:
                    container[name] = value
        self._text.clear()
