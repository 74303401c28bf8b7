"""YAML as it is read by eye: only plain decimal numbers, only true and false, and no key twice.

PyYAML follows YAML 1.1, in which 010 is 8, 1:30 is 90, ``no`` is False, and of two equal keys the last one wins. Here
all of these stay text, which the schema refuses where a number is wanted, and a key that stands twice is an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from reprolib.run.errors import ParameterError


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - filled below, by PyYAML's own method

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key, _ in node.value if keys.count(key.value) > 1]:
            raise yaml.MarkedYAMLError(f"the key {twice[-1].value!r} stands there twice", twice[-1].start_mark)
        return super().construct_mapping(node, deep)


for _kind, _pattern in {
    "null": "~|null|Null|NULL|",
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9]\d*)",
    "float": r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"({_pattern})$", re.ASCII), None)


def read(file: Path) -> Any:
    """What a file says. Raises ParameterError for a file that is no YAML or cannot be read."""
    try:
        return read_text(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise ParameterError(f"{file} is not valid YAML ({' '.join(str(error).split())}); correct it") from error
    except OSError as error:
        raise ParameterError(f"{file} cannot be read ({error.strerror}); check its name and rights") from error


def read_text(text: str) -> Any:
    """What a text says. Raises yaml.YAMLError, which names the place, or ValueError."""
    return yaml.load(text, _Loader)
