"""What the memory benchmark runs in processes of its own is text, which no linter reads."""

import ast
from importlib import import_module

import pytest

from bench import memory


@pytest.mark.parametrize("name", ["EXTRACT", "TRAIN"])
def test_what_a_process_imports_is_there(name):
    imports = [node for node in ast.walk(ast.parse(getattr(memory, name))) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        module = import_module(node.module)
        assert all(hasattr(module, each.name) or import_module(f"{node.module}.{each.name}") for each in node.names)
