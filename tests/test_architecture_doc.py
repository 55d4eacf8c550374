"""The pages in docs/ name only what exists: files, modules, classes and their members, commands."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from appliance.cli import app

ROOT = Path(__file__).parent.parent
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
SOURCES = [path for package in ("engine", "appliance", "webui") for path in sorted((ROOT / package).rglob("*.py"))]
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}

IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
MEMBER = re.compile(r"([A-Z]\w*)\.(\w+)")
MODULE = re.compile(r"(engine|appliance|webui)(\.\w+)*")
COMMAND = re.compile(r"semi-pd ([a-z]+)")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def quoted(page: Path) -> list[str]:
    """What stands between backticks outside of code blocks."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return sorted({" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose)})


def commands_in(page: Path) -> set[str]:
    """Those between backticks, and those that are to be typed."""
    typed = re.findall(r"^ {4}.*", page.read_text("utf-8"), flags=re.MULTILINE)
    return {name for text in (*quoted(page), *typed) for name in COMMAND.findall(text)}


def commands() -> set[str]:
    """What `semi-pd` has."""
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    return set(command.commands)


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


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


@every_page
def test_every_member_named_exists(page: Path, members_of: dict[str, set[str]]) -> None:
    named = [match.groups() for name in quoted(page) if (match := MEMBER.fullmatch(name))]
    assert [f"{owner}.{member}" for owner, member in named if member not in members_of[owner]] == []


@every_page
def test_every_path_and_module_named_exists(page: Path) -> None:
    paths = [name for name in quoted(page) if name.partition("/")[0] in FOLDERS and "/" in name and " " not in name]
    modules = [name for name in quoted(page) if MODULE.fullmatch(name)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [module for module in modules if not is_module(module)] == []


@every_page
def test_every_command_named_exists(page: Path) -> None:
    assert commands_in(page) - commands() == set()


@every_page
def test_every_page_linked_to_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_word_of_the_code_in_the_architecture_occurs_in_it() -> None:
    words = {word for path in SOURCES for word in IDENTIFIER.findall(path.read_text("utf-8"))}
    named = [name for name in quoted(ARCHITECTURE) if IDENTIFIER.fullmatch(name)]
    assert named
    assert [name for name in named if name not in words] == []


def test_the_architecture_names_the_code() -> None:
    """The checks above hold for a page that names nothing, too."""
    names = quoted(ARCHITECTURE)
    assert all(any(kind.fullmatch(name) for name in names) for kind in (MEMBER, MODULE))
    assert any(name.partition("/")[0] in FOLDERS for name in names)
    assert "rotate" in commands_in(ARCHITECTURE)


def test_decisions_are_numbered_in_turn() -> None:
    pages = [page for page in PAGES if page.parent.name == "decisions"]
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    assert [page.name for page in pages if not page.read_text("utf-8").startswith(f"# {int(page.name[:4])}. ")] == []
