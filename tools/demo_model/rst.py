"""Reads reStructuredText as far as Python's documentation uses it; knows nothing of files, models or chat.

A page becomes a tree of blocks, and the tree becomes either Markdown or a list of documented objects."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeGuard

OBJECT_KINDS = {
    "function": "function", "coroutinefunction": "coroutine function",
    "awaitablefunction": "awaitable function",
    "decorator": "decorator", "class": "class", "exception": "exception", "data": "constant",
    "method": "method", "coroutinemethod": "coroutine method", "awaitablemethod": "awaitable method",
    "abstractmethod": "abstract method", "classmethod": "class method", "staticmethod": "static method",
    "decoratormethod": "decorator method", "attribute": "attribute", "property": "property",
    "c:function": "C function", "c:type": "C type", "c:macro": "C macro", "c:var": "C variable",
    "c:member": "C member", "opcode": "bytecode instruction", "option": "option", "cmdoption": "option",
    "envvar": "environment variable", "pdbcommand": "debugger command", "describe": "form",
}  # fmt: skip
CONTAINERS = {"class", "exception"}
NOTES = {"note": "Note", "warning": "Warning", "tip": "Tip", "important": "Important", "caution": "Caution"}
CODE = {"code-block", "code", "sourcecode", "doctest", "testcode"}
TRANSPARENT = {"impl-detail", "admonition", "topic", "glossary", "hlist", "rubric"}

Block: TypeAlias = "Paragraph | Heading | Code | Item | Directive"


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Item:
    """A list item, or (with `term`) one definition of a definition list."""

    blocks: "list[Block]"
    term: str | None = None


@dataclass(frozen=True)
class Directive:
    name: str
    arguments: list[str]
    options: dict[str, str]
    blocks: "list[Block]"


@dataclass(frozen=True)
class Entry:
    """One documented object, such as `os.path.join`; `body` is Markdown blocks in the order of the page."""

    name: str
    kind: str
    module: str | None
    signature: str
    body: list[str] = field(default_factory=list)
    added: str | None = None

    @property
    def examples(self) -> list[str]:
        return [block for block in self.body if block.startswith("```")]


class Section(NamedTuple):
    title: str
    body: list[str]


# --- inline markup --------------------------------------------------------------------------------

ROLE = re.compile(r":(?:[\w+-]+:)?([\w+-]+):`([^`]+)`")
LINK = re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?")
REFERENCE = re.compile(r"(?<!`)`([^`<]+)`__?(?!\w)")
PLAIN_ROLES = {
    "term",
    "ref",
    "doc",
    "dfn",
    "abbr",
    "command",
    "program",
    "emphasis",
    "strong",
    "title",
    "sub",
    "sup",
}


def inline(text: str) -> str:
    """Inline markup as Markdown: roles and literals become `code`, links become their text."""
    text = re.sub(r"\*((?:\\\*)+\w+)\*", lambda m: "`" + m[1].replace("\\", "") + "`", text)
    text = ROLE.sub(_role, text)
    text = LINK.sub(r"\1", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.S)
    text = REFERENCE.sub(lambda m: m[1] if m[0].endswith("_") else m[0], text)
    text = re.sub(r"\s*\[(?:#[\w-]*|\d+)\]_", "", text)
    text = text.replace("|version|", "3.11").replace("|release|", "3.11")
    return re.sub(r"\\(.)", lambda m: m[1] if m[1] in "*_`|" else m[0], text).replace("\\ ", "")


def _role(match: re.Match[str]) -> str:
    role, text = match[1], re.sub(r"\s+", " ", match[2])
    titled = re.match(r"(.+?)\s*<[^>]*>$", text)
    text = titled[1] if titled else text.lstrip("!")
    if role in ("pep", "rfc"):
        return text if titled else f"{role.upper()} {text}"
    if role in PLAIN_ROLES:
        return text
    return f"`{text.removeprefix('~')}`"


# --- blocks ---------------------------------------------------------------------------------------

DIRECTIVE = re.compile(r"\.\. ([\w:+-]+)::(?:\s+(.*))?$")
ITEM = re.compile(r"(?:[*+-]|#\.|\d+[.)])\s+")
UNDERLINE = re.compile(r"([=\-~^\"'*#+.`_:])\1{2,}\s*$")
TABLE = re.compile(r"(?:=+(?: +=+)+|\+[-=+]+\+)\s*$")
OPTION = re.compile(r":([\w-]+):\s*(.*)$")


def parse(lines: list[str]) -> "list[Block]":
    """The blocks of already dedented lines. Tables, comments, labels and footnotes are dropped."""
    blocks: list[Block] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.startswith(" "):
            inner, at = _indented(lines, at)
            blocks += [Code("\n".join(inner))] if _announces_code(blocks) else parse(inner)
        elif line.startswith(".."):
            inner, end = _indented(lines, at + 1)
            if found := DIRECTIVE.match(line):
                blocks.append(_directive(found[1], found[2] or "", inner))
            at = end
        elif TABLE.match(line):
            at = _after_table(lines, at)
        elif _is_heading(lines, at):
            blocks.append(Heading(inline(line.strip())))
            at += 2
        elif UNDERLINE.match(line):
            at += 1
        elif line.startswith(">>>"):
            end = _until_blank(lines, at)
            blocks.append(Code("\n".join(lines[at:end])))
            at = end
        elif mark := ITEM.match(line):
            inner, at = _indented(lines, at + 1)
            blocks.append(Item(parse([line[mark.end() :], *inner])))
        elif at + 1 < len(lines) and lines[at + 1].startswith(" "):
            inner, at = _indented(lines, at + 1)
            blocks.append(Item(parse(inner), term=inline(line.strip())))
        else:
            end = _paragraph_end(lines, at)
            blocks += _paragraph(lines[at:end])
            at = end
    return blocks


def _indented(lines: list[str], at: int) -> tuple[list[str], int]:
    """The indented lines from `at` on, dedented, and the index after them."""
    end = at
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    inner = lines[at:end]
    margin = min((len(line) - len(line.lstrip()) for line in inner if line.strip()), default=0)
    inner = [line[margin:] for line in inner]
    while inner and not inner[-1].strip():
        inner.pop()
    return inner, end


def _directive(name: str, first: str, inner: list[str]) -> Directive:
    arguments, at = [first.strip()] if first.strip() else [], 0
    while at < len(inner) and inner[at].strip() and not OPTION.match(inner[at]) and name in OBJECT_KINDS:
        arguments.append(inner[at].strip())
        at += 1
    options: dict[str, str] = {}
    while at < len(inner) and (found := OPTION.match(inner[at])):
        options[found[1]] = found[2]
        at += 1
    body = inner[at:]
    while body and not body[0].strip():
        body.pop(0)
    blocks: list[Block] = [Code("\n".join(body))] if name in CODE else parse(body)
    return Directive(name, _join_continued(arguments), options, blocks)


def _join_continued(arguments: list[str]) -> list[str]:
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1].endswith("\\"):
            joined[-1] = joined[-1][:-1] + argument
        else:
            joined.append(argument)
    return joined


def _announces_code(blocks: "list[Block]") -> bool:
    return bool(blocks) and isinstance(blocks[-1], Paragraph) and blocks[-1].text.endswith("\u200b")


def _after_table(lines: list[str], at: int) -> int:
    if lines[at].startswith("+"):
        return _until_blank(lines, at)
    borders = 0
    while at < len(lines):
        borders += bool(TABLE.match(lines[at]))
        at += 1
        if borders >= 2 and (at >= len(lines) or not lines[at].strip()):
            break
    return at


def _is_heading(lines: list[str], at: int) -> bool:
    below = lines[at + 1] if at + 1 < len(lines) else ""
    return bool(UNDERLINE.match(below)) and len(below.strip()) >= len(lines[at].strip()) - 2


def _until_blank(lines: list[str], at: int) -> int:
    while at < len(lines) and lines[at].strip():
        at += 1
    return at


def _paragraph_end(lines: list[str], at: int) -> int:
    at += 1
    while at < len(lines) and lines[at].strip() and not lines[at].startswith((" ", ".. ")):
        at += 1
    return at


def _paragraph(lines: list[str]) -> "list[Block]":
    """One paragraph. A zero-width space at its end marks that a literal block follows."""
    text = re.sub(r" {2,}", " ", inline(" ".join(line.strip() for line in lines)))
    if text.endswith("::"):
        text = text.removesuffix(" ::") if text.endswith(" ::") else text[:-1]
        text = text.removeprefix("::") + "\u200b"
    return [Paragraph(text)]


# --- Markdown -------------------------------------------------------------------------------------


def markdown(blocks: "list[Block]", scope: "Scope") -> list[str]:
    """The Markdown blocks of a page, documented objects under their full names."""
    return [text for block in blocks for text in _render(block, scope)]


def _render(block: "Block", scope: "Scope") -> Iterator[str]:
    match block:
        case Paragraph(text):
            if text := text.replace("\u200b", "").removeprefix(":"):
                yield text
        case Heading(text):
            yield f"## {text}"
        case Code(text):
            if text.strip():
                yield f"```python\n{text.rstrip()}\n```"
        case Item(blocks, None):
            yield "- " + "\n".join(markdown(blocks, scope))
        case Item(blocks, term):
            yield f"**{term}**: " + "\n".join(markdown(blocks, scope))
        case Directive(name, arguments, _, blocks) if name in OBJECT_KINDS:
            for argument in arguments:
                yield f"### `{scope.qualify(name, argument)}`"
            yield from markdown(blocks, scope.inside(name, arguments))
        case Directive("versionadded", [version, *rest], _, _):
            number, *words = version.split()
            yield f"Added in version {number}. {inline(' '.join([*words, *rest]))}".strip()
        case Directive("versionchanged", [version, *_], _, blocks):
            yield f"Changed in version {version}: " + " ".join(markdown(blocks, scope))
        case Directive(name, _, _, blocks) if name in NOTES and blocks:
            yield f"{NOTES[name]}: " + "\n".join(markdown(blocks, scope))
        case Directive("seealso", _, _, blocks) if blocks:
            yield "See also: " + "\n".join(markdown(blocks, scope))
        case Directive("module" | "currentmodule", [module, *_], options, _):
            scope.module = module
            if synopsis := options.get("synopsis"):
                yield f"The `{module}` module: {inline(synopsis)}"
        case Directive(name, _, _, blocks) if name in CODE | TRANSPARENT:
            yield from markdown(blocks, scope)


@dataclass
class Scope:
    """Where on a page we are: the module that `.. module::` named last, and the class around a directive."""

    module: str | None = None
    owner: str | None = None

    def qualify(self, kind: str, signature: str) -> str:
        signature = re.sub(r" {2,}", " ", re.sub(r"\\(.)", r"\1", signature)).strip()
        if kind.startswith("c:") or kind in (
            "opcode",
            "option",
            "cmdoption",
            "envvar",
            "pdbcommand",
            "describe",
        ):
            return signature
        signature = re.sub(r"^(class|exception|async|await|static)\s+", "", signature)
        owner = self.owner or self.module
        if not owner or owner in ("builtins", "__main__") or self._is_qualified(signature):
            return signature
        return f"{owner}.{signature}"

    def _is_qualified(self, signature: str) -> bool:
        name = signature.split("(")[0].strip()
        head = name.split(".")[0]
        if self.owner and name.startswith(self.owner.rsplit(".", 1)[-1] + "."):
            return True
        return bool(self.module) and head == (self.module or "").split(".")[0] and "." in name

    def inside(self, kind: str, signatures: list[str]) -> "Scope":
        if kind not in CONTAINERS or not signatures:
            return self
        return Scope(self.module, self.qualify(kind, signatures[0]).split("(")[0].strip())


# --- documented objects ---------------------------------------------------------------------------


def entries(blocks: "list[Block]", scope: Scope) -> Iterator[Entry]:
    """Every documented object of a page, innermost included."""
    for block in blocks:
        if not isinstance(block, Directive):
            continue
        if block.name in ("module", "currentmodule") and block.arguments:
            scope.module = block.arguments[0]
        elif block.name in OBJECT_KINDS and block.arguments:
            yield from _entries_of(block, scope)
            yield from entries(block.blocks, scope.inside(block.name, block.arguments))
        else:
            yield from entries(block.blocks, scope)


def _entries_of(block: Directive, scope: Scope) -> Iterator[Entry]:
    own = [inner for inner in block.blocks if not _is_apart(inner)]
    added = next((b.arguments[0] for b in block.blocks if _is_version(b) and b.arguments), None)
    body = markdown(own, scope.inside(block.name, block.arguments))
    seen: set[str] = set()
    for argument in block.arguments if body else []:
        signature = scope.qualify(block.name, argument)
        name = signature.split("(")[0].split("[")[0].strip()
        if name and name not in seen:
            seen.add(name)
            kind = OBJECT_KINDS[block.name]
            yield Entry(name, kind, scope.module, signature, body, _release(added or ""))


def _release(added: str) -> str | None:
    found = re.match(r"\d\.\d+(?:\.\d+)?$", added.strip())
    return found[0] if found else None


def _is_version(block: "Block") -> "TypeGuard[Directive]":
    return isinstance(block, Directive) and block.name == "versionadded"


def _is_apart(block: "Block") -> bool:
    apart = {"versionadded", "versionchanged", "seealso", "deprecated", "deprecated-removed", "availability"}
    return isinstance(block, Directive) and (block.name in OBJECT_KINDS or block.name in apart)


def sections(blocks: "list[Block]", scope: Scope) -> Iterator[Section]:
    """Every headed section with its own text: up to the next heading, documented objects left out."""
    title, body = None, []
    for block in blocks:
        if isinstance(block, Heading):
            if title and body:
                yield Section(title, body)
            title, body = block.text, []
        elif not (isinstance(block, Directive) and block.name in OBJECT_KINDS):
            body += markdown([block], scope)
    if title and body:
        yield Section(title, body)


def definitions(blocks: "list[Block]", scope: Scope) -> Iterator[Section]:
    """The terms of every glossary on the page."""
    for block in blocks:
        if isinstance(block, Directive) and block.name == "glossary":
            for item in block.blocks:
                if isinstance(item, Item) and item.term:
                    yield Section(item.term, markdown(item.blocks, scope))


def synopses(blocks: "list[Block]") -> Iterator[tuple[str, str]]:
    """(module, one-line synopsis) of every module the page documents."""
    for block in blocks:
        if isinstance(block, Directive) and block.name == "module" and block.arguments and "synopsis" in block.options:
            yield block.arguments[0], inline(block.options["synopsis"])
