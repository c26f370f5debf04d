"""Parses YAML to a tree of nodes with places, in one pass over the C parser's events.

No objects are constructed and nothing is recursive. Syntax that could make a small file expensive is refused: anchors,
aliases, tags, directives, merge keys, second documents, deep nesting, too many nodes.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable
from typing import Any, NoReturn

from ...core.problems import Problem, shown_name
from ...core.provenance import LayerName, Origin
from .nodes import Node
from .scalars import scalar

MAX_DEPTH = 16
MAX_EVENTS = 8192
MAX_SCALAR = 8192
# The C scanner takes time quadratic in the open brackets: 6 s for 60 000.
MAX_BRACKETS = 4096
# More than are made by mistake; each takes time.
MAX_PROBLEMS = 100

_BREAK = "\r\n|[\n\r\x85\u2028\u2029]"
_CONFLICT = r"^(?:<{7}|={7}|>{7})(?=[ \r\n]|$)"
_GLUED = r"[A-Za-z_]{1,64}:[^\s:/]"
# A colon inside a word, which never separates a key from its value.
_INNER_COLON = r"""(?<=[^\s,\[\]{}"']):(?=[^\s,\[\]{}])"""


class _StopError(Exception):
    """Raised when the rest of the text cannot be read."""


class YamlReader:
    """Reads one text once.

    `problems` collects the faults. `lost` has the named values that are not in the tree: the second of two equal keys,
    the value of a refused key.
    """

    def __init__(self, text: str, layer: LayerName, source: str) -> None:
        self.text = text
        self.layer = layer
        self.source = source
        self.begin()

    def begin(self) -> None:
        """Resets the state before the first event."""
        self.problems: list[Problem] = []
        self.lost: list[tuple[str, Node]] = []
        self.root: Node | None = None
        self.open: list[Node] = []  # the open mappings and lists, outermost first
        self.names: list[str] = []  # for each, its name in its parent
        self.keys: list[Node | None] = []  # for each, the key that waits for its value
        self.documents = 0
        self.document_end: int | None = None  # the index of `...`
        self.colon = ""  # the character that replaces a colon for the parser

    def problem(self, code: str, message: str, hint: str, line: int, column: int, key: str = "") -> None:
        origin = Origin(self.layer, self.source, line, column)
        self.problems.append(Problem(code=code, key=key, message=message, hint=hint, origin=origin))

    def fault(self, code: str, message: str, hint: str, node: Node, key: str = "") -> None:
        """Records a problem after which reading continues, unless there are too many."""
        self.problem(code, message, hint, node.line, node.column, key)
        if len(self.problems) >= MAX_PROBLEMS:
            message = f"{MAX_PROBLEMS} errors: the rest of the file was not read"
            self.problem("too-large", message, "fix these first", node.line, node.column)
            raise _StopError

    def read(self) -> Node | None:
        """Reads the root node; None when the text is empty or unreadable."""
        bad = [self.text.index(character) for character in set(self.text) if not _is_allowed(character)]
        if bad:
            line, column = line_and_column(self.text, min(bad))
            self.problem("yaml-syntax", "a character that YAML does not allow", "remove it", line, column)
        elif self.text.count("[") + self.text.count("{") > MAX_BRACKETS:
            self._refuse()
        elif self._walk():
            return self.root
        return None

    def _refuse(self) -> None:
        """Reports the first fault before the limit of open brackets is exceeded, or that it is exceeded."""
        from ruamel.yaml.error import YAMLError

        end = [found.start() for found in re.finditer(r"[\[{]", self.text)][MAX_BRACKETS]
        with contextlib.suppress(YAMLError):  # it is cut off there
            self._take(self.text[:end])
        if not self.problems:
            line, column = line_and_column(self.text, end)
            self.problem(
                "too-large",
                f"more than {MAX_BRACKETS} brackets",
                "write lists and mappings as indented lines",
                line,
                column,
            )

    def _walk(self) -> bool:
        """Reads the text with the C parser. False when it cannot be read to its end."""
        from ruamel.yaml.error import YAMLError

        try:
            return self._take(self.text)
        except YAMLError as error:
            failure: Any = error
        from .syntax_errors import COLON_IN_BRACKETS  # imported late: most files have no fault

        if failure.problem == COLON_IN_BRACKETS:
            # The parser predates YAML 1.2, in which `{model: qwen3:4b}` needs no quotes.
            self.begin()
            # There are more private-use characters than a file can contain.
            used = set(self.text)
            self.colon = next(sign for sign in map(chr, range(0xF0000, 0xFFFFE)) if sign not in used)
            try:
                return self._take(re.sub(_INNER_COLON, self.colon, self.text))
            except YAMLError as error:
                failure = error
        self._syntax(failure)
        return False

    def _take(self, text: str) -> bool:
        """Handles the events of a text. Returns whether it handled all. Raises the parser's errors."""
        from _ruamel_yaml import CParser

        handlers = self._handlers()
        try:
            next_event = CParser(text).get_event
            for _ in range(MAX_EVENTS):
                event = next_event()
                handler = handlers.get(type(event))
                if handler is not None:
                    handler(event)
                elif event is None:
                    return True
            self._stop("too-large", f"more than {MAX_EVENTS} YAML events", event.start_mark)
        except _StopError:
            return False  # the reason is in `problems`

    def _handlers(self) -> dict[type, Callable[[Any], None]]:
        from ruamel.yaml import events

        return {
            events.ScalarEvent: self._scalar,
            events.MappingStartEvent: functools.partial(self._start, dict),
            events.SequenceStartEvent: functools.partial(self._start, list),
            events.MappingEndEvent: self._end,
            events.SequenceEndEvent: self._end,
            events.AliasEvent: self._alias,
            events.DocumentStartEvent: self._document,
            events.DocumentEndEvent: self._document_end,
        }

    def _syntax(self, error: Any) -> None:
        from .syntax_errors import described_error

        conflict = re.search(_CONFLICT, self.text, re.MULTILINE)
        if conflict:
            hint = "keep one of the two versions, and remove the lines with the markers"
            self.problem(
                "yaml-syntax", "an unresolved git merge conflict", hint, *line_and_column(self.text, conflict.start())
            )
            return
        code, message, hint, line, column = described_error(
            error, only_document=self.documents == 1 and self.document_end is None
        )
        message, hint = self._explained(message, hint, line, column)
        last = line_and_column(self.text, len(self.text.rstrip()))
        if (line, column) > last:  # something is missing: the open nodes show where
            line, column = last
            if self.open and "node content" in message:
                line, column = self.open[-1].line, self.open[-1].column
                message, hint = "a list or a mapping is never closed", "close it with ] or }"
        self.problem(code, message, hint, line, column)

    def _explained(self, message: str, hint: str, line: int, column: int) -> tuple[str, str]:
        """The message and the hint of a syntax error, improved if the lines around it show the cause."""
        from .syntax_errors import COLON_TOO_MANY, NOT_A_START

        lines = re.split(_BREAK, self.text)
        here = lines[line - 1] if line <= len(lines) else ""
        if (
            message == NOT_A_START
            and here[: column - 1].isspace() | (column == 1)
            and here[column - 1 : column] == "\t"
        ):
            return "a tab in the indentation", "indent with spaces"
        if message == COLON_TOO_MANY:
            before = lines[line - 2].strip() if line > 1 else ""
            if before.startswith("//"):
                return message, "start a comment with #, not with //"
            if re.match(_GLUED, before):
                return message, f"put a space after the colon in line {line - 1}"
        return message, hint

    def _stop(self, code: str, message: str, mark: Any) -> NoReturn:
        self.problem(code, message, "", mark.line + 1, mark.column + 1)
        raise _StopError

    def _document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            self._stop("yaml-forbidden", "a second document (---) is not allowed here", event.start_mark)
        if event.version or event.tags:
            self._stop("yaml-forbidden", "YAML directives (%) are not allowed here", event.start_mark)

    def _document_end(self, event: Any) -> None:
        if event.explicit:
            self.document_end = event.start_mark.index

    def _node(self, event: Any, value: Any, style: str) -> Node:
        start, end = event.start_mark, event.end_mark
        return Node(value, start.line + 1, start.column + 1, end.line + 1, start.index, end.index, style)

    def _forbid(self, node: Node, what: str, hint: str) -> None:
        node.bad = True
        self.fault("yaml-forbidden", f"{what} are not allowed here", hint, node)

    def _decorated(self, node: Node, event: Any) -> None:
        if event.anchor is not None:
            self._forbid(node, "YAML anchors (&name)", "write the value out where it is needed")
        if event.ctag is not None:
            is_env = str(event.ctag).lower().startswith("!env")
            hint = "write {env: NAME}" if is_env else "remove it; a secret can be {env: NAME} or {file: PATH}"
            self._forbid(node, "YAML tags (!name)", hint)

    def _alias(self, event: Any) -> None:
        node = self._node(event, None, "")
        self._forbid(node, "YAML aliases (*name)", "write the value out")
        self._place(node)

    def _scalar(self, event: Any) -> None:
        text = event.value.replace(self.colon, ":") if self.colon else event.value
        node = self._node(event, text, event.style)
        if event.anchor is not None or event.ctag is not None:
            self._decorated(node, event)
        if len(text) > MAX_SCALAR:
            node.bad = True
            self.fault("too-large", f"a string of more than {MAX_SCALAR} characters", "shorten it", node)
        if self.keys and self.keys[-1] is None and type(self.open[-1].value) is dict:
            self.keys[-1] = node  # a key is its text: `1`, `true` and `null` are names like any other
            return
        if event.style == "":
            node.value = scalar(text)
        self._place(node)

    def _start(self, kind: type[dict[str, Node]] | type[list[Node]], event: Any) -> None:
        node = self._node(event, kind(), self.text[event.start_mark.index] if event.flow_style else "")
        if event.anchor is not None or event.ctag is not None:
            self._decorated(node, event)
        if len(self.open) >= MAX_DEPTH:
            self._stop("yaml-forbidden", f"nested more than {MAX_DEPTH} deep", event.start_mark)
        key = self.keys[-1] if self.keys else None
        self._place(node)
        self.open.append(node)
        self.names.append(str(key.value) if key else "")
        self.keys.append(None)

    def _end(self, event: Any) -> None:
        node = self.open.pop()
        node.end, node.end_line = event.end_mark.index, event.end_mark.line + 1
        self.names.pop()
        self.keys.pop()

    def _place(self, node: Node) -> None:
        """Adds a node to its parent: as the root, a list's item, a key, or the waiting key's value."""
        if not self.open:
            self.root = node
            return
        parent = self.open[-1].value
        if type(parent) is list:
            parent.append(node)
            return
        key = self.keys[-1]
        if key is None:
            if type(node.value) is not str:
                self.lost.append(("", node))
                if not node.bad:
                    self._forbid(node, "keys that are lists or mappings", "write a name before the colon")
            self.keys[-1] = node
            return
        self.keys[-1] = None
        node.key = key
        name = key.value if type(key.value) is str else ""
        if not key.bad and name != "<<" and name not in parent:
            parent[name] = node
            return
        self.lost.append((name, node))
        if name == "<<":
            self._forbid(key, "YAML merge keys (<<)", "write the values out")
        elif not key.bad:
            self._duplicate(key, parent[name])

    def _duplicate(self, key: Node, first: Node) -> None:
        from .secret_lines import is_secretive

        # The first one stays in the tree: only the author knows which one is meant.
        names = [name for name in [*self.names, key.value] if name]
        secret = next((n for n, name in enumerate(names[:-1], start=1) if is_secretive(name)), None)
        # The content of a secret's value may be the secret.
        path = ".".join(map(shown_name, names[:secret]))
        subject = "a key " if secret is not None or not path else ""
        hint = f"remove one of the two; the first is on line {(first.key or first).line}"
        self.fault("duplicate-key", f"{subject}is given twice", hint, key, path)


def _is_allowed(character: str) -> bool:
    """Whether YAML allows a character (https://yaml.org/spec/1.2.2/#51-character-set)."""
    return (
        " " <= character <= "~"
        or character in "\t\n\r\x85"
        or "\xa0" <= character <= "\ud7ff"
        or "\ue000" <= character <= "\ufffd"
        or character > "\uffff"
    )


def line_and_column(text: str, index: int) -> tuple[int, int]:
    """The 1-based line and column of a character of the text, by index."""
    starts = [found.end() for found in re.compile(_BREAK).finditer(text, 0, index)]
    return len(starts) + 1, index - (starts[-1] if starts else 0) + 1


def parse(text: str, layer: LayerName, source: str) -> tuple[Node | None, list[Problem]]:
    """Parses YAML. Returns the tree and every fault.

    The tree is None when the text is empty or cannot be read. Takes under 1 s and 64 MiB for any text of 64 KiB.
    """
    reader = YamlReader(text, layer, source)
    root = reader.read()
    return root, reader.problems
