"""What does this YAML say, and where? YAML 1.2 as plain values, with the place of each.

A pack is written by people who are not the operator, so the reader is strict: at most 1 MiB, few
aliases, no tags, no merge keys, no key twice. All such faults are collected, not only the first.
"""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from watcher.errors import InvalidInput, Problem
from watcher.places import Places, Where

MAX_BYTES = 1 << 20
MAX_ALIASES = 64
MAX_DEPTH = 32
_QUOTED = re.compile(r'expr:\s*"[^"]*"\s*\.')
_CORE = "tag:yaml.org,2002:"
_TYPED = frozenset(_CORE + kind for kind in ("int", "float", "bool", "null"))
_TEXT = frozenset(_CORE + kind for kind in ("str", "timestamp"))


def load_yaml(text: str, file: str) -> tuple[Any, Places, list[Problem]]:
    """Return the document in ``text``, its places, and what is wrong with single values.

    None stands for an empty document, and in place of a value at fault, so that the caller can go
    on and say everything at once. InvalidInput for what is no YAML at all. Dates are text.
    """
    if len(text.encode(errors="surrogateescape")) > MAX_BYTES:
        raise InvalidInput([Problem(file, 0, 0, "is larger than 1 MiB; split the pack")])
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except RecursionError:
        raise InvalidInput([Problem(file, 0, 0, "is nested too deeply")]) from None
    except MarkedYAMLError as error:
        raise InvalidInput([_syntax(error, file, text)]) from error
    except YAMLError as error:
        first = str(error).partition("\n")[0]
        raise InvalidInput([Problem(file, 0, 0, f"not YAML: {first}")]) from error
    if root is None:
        return None, Places(), []
    reader = _Reader(yaml, file)
    value = reader.plain(root, ())
    return value, reader.places, reader.problems


def _syntax(error: MarkedYAMLError, file: str, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    message = f"not YAML: {error.problem or error.context}"
    if "found another document" in message:
        message = "a pack is one document; remove the second ---"
    elif _QUOTED.search("\n".join(text.split("\n")[line - 1 : line])):
        message += "; put single quotes around the whole of what begins with a quoted tag"
    return Problem(file, line, column, message)


class _Reader:
    """Turns nodes into plain values; notes places and faults on the way."""

    def __init__(self, yaml: YAML, file: str) -> None:
        self.places = Places()
        self.problems: list[Problem] = []
        self._construct = yaml.constructor.construct_object
        self._file = file
        self._seen: set[int] = set()
        self._aliases = 0

    def plain(self, node: Node, where: Where) -> Any:
        """Return the value of ``node``; None in place of what is at fault."""
        self.places.values[where] = _start(node)
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if not self._expandable(node, where):
            return None
        if isinstance(node, SequenceNode):
            if node.tag != f"{_CORE}seq":
                return self._fault(node, f"tag {node.tag} is not allowed")
            return [self.plain(item, (*where, i)) for i, item in enumerate(node.value)]
        assert isinstance(node, MappingNode)
        return self._mapping(node, where)

    def _expandable(self, node: Node, where: Where) -> bool:
        """Whether the collection may be read (once more): aliases could multiply without end."""
        if id(node) in self._seen:
            self._aliases += 1
        self._seen.add(id(node))
        if self._aliases == MAX_ALIASES + 1:
            self._fault(node, f"more than {MAX_ALIASES} uses of aliases; write the values out")
        if len(where) > MAX_DEPTH:
            self._fault(node, "is nested too deeply")
            return False
        return self._aliases <= MAX_ALIASES

    def _mapping(self, node: MappingNode, where: Where) -> Any:
        if node.tag != f"{_CORE}map":
            return self._fault(node, f"tag {node.tag} is not allowed")
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_CORE}merge":
                self._fault(key_node, "merge keys (<<) are not allowed; write the keys out")
                continue
            if not isinstance(key_node, ScalarNode):
                self._fault(key_node, "a key must be plain text")
                continue
            key = str(key_node.value)
            if key in found:
                self._fault(key_node, f'key "{key}" is here twice; remove one')
                continue
            self.places.keys[(*where, key)] = _start(key_node)
            found[key] = self.plain(value_node, (*where, key))
        return found

    def _scalar(self, node: ScalarNode) -> Any:
        if node.tag in _TEXT:
            return str(node.value)
        if node.tag not in _TYPED:
            return self._fault(node, f"tag {node.tag} is not allowed")
        try:
            return self._construct(node)
        except (ValueError, YAMLError):
            return self._fault(node, f'"{node.value}" cannot be read')

    def _fault(self, node: Node, message: str) -> None:
        line, column = _start(node)
        self.problems.append(Problem(self._file, line, column, message))


def _start(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
