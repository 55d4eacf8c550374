"""docs/architecture.md names only what exists: files, modules, classes and their members."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
SOURCES = [path for package in ("engine", "appliance") for path in sorted((ROOT / package).rglob("*.py"))]

IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
MEMBER = re.compile(r"[A-Z]\w*\.\w+")
MODULE = re.compile(r"(engine|appliance)(\.\w+)*")


def quoted() -> list[str]:
    """What stands between backticks outside of code blocks."""
    prose = re.sub(r"^```.*?^```$", "", PAGE.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return sorted(set(re.findall(r"`([^`\n]+)`", prose)))


def members(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(class, member) for methods, fields and what methods set on `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for inside in ast.walk(node):
                match inside:
                    case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                        yield node.name, name
                    case ast.AnnAssign(target=ast.Name(id=name)):
                        yield node.name, name
                    case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                        yield node.name, name


@pytest.fixture(scope="module")
def members_of() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        for owner, member in members(ast.parse(path.read_text("utf-8"))):
            found[owner].add(member)
    return found


def test_every_member_named_exists(members_of: dict[str, set[str]]) -> None:
    named = [name.split(".") for name in quoted() if MEMBER.fullmatch(name)]
    assert named
    assert [f"{owner}.{member}" for owner, member in named if member not in members_of[owner]] == []


def test_every_word_of_the_code_occurs_in_it() -> None:
    words = {word for path in SOURCES for word in IDENTIFIER.findall(path.read_text("utf-8"))}
    named = [name for name in quoted() if IDENTIFIER.fullmatch(name)]
    assert named
    assert [name for name in named if name not in words] == []


def test_every_path_and_module_named_exists() -> None:
    paths = [name for name in quoted() if "/" in name and " " not in name]
    modules = [name for name in quoted() if MODULE.fullmatch(name)]
    assert paths
    assert modules
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [module for module in modules if not (ROOT / module.replace(".", "/")).exists()] == []
