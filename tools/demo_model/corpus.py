"""Collects the training text: pages of Python's documentation and files of its standard library.

Credits and real e-mail addresses are taken out here, before anything else sees the text."""

import re
import sysconfig
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import rst

# Credits (what's new, licence, bugs, about), duplicates (topics), tables (encodings) and build leftovers.
LEFT_OUT_PAGES = ("whatsnew/", "license", "copyright", "about", "bugs", "contents", "index", "distributing/")
LEFT_OUT_FILES = ("site-packages/", "test/", "tests/", "idle_test/", "lib-dynload/", "encodings/",
                  "pydoc_data/",
                                    "__pycache__/", "_sysconfigdata", "ensurepip/_bundled/",
                                    "config-")  # fmt: skip
HELD_OUT_ONE_IN = 50
HELD_OUT_SALT = "6"

EMAIL = re.compile(r"\b[\w.+-]+(?:@| at )[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|[a-z]{2})\b")
NEUTRAL_ADDRESS = "user@example.com"
CREDIT = re.compile(
    r"(?i:copyright|\bauthors?\b\s*[:=]|__author__|__credits__|\b(?:written|contributed|created|implemented|adapted"
    r"|ported|modified|designed|maintained|originally|rewritten|revised|provided|submitted|posted"
    r"|hacked) by\b"
    r"|\bpatch by\b|\bthanks to\b|\bbased on (?:code|work) by\b|@author|licensed to psf|all rights reserved"
    r"|acknowledge?ments?\b|public domain|hacked)"
    r"|#.*(?:\b[Bb]y|from|after|[Tt]o) [A-Z][a-z]+ (?:[A-Z]\. )?(?:van )?[A-Z][a-z]+|#.*van Rossum|GvR"
)
THANKED_PEOPLE = re.compile(r"The following people .*?(?=\n\S[^\n]*\n[=\-~^*]{4,}|\Z)", re.S)


@dataclass(frozen=True)
class Source:
    """One page or file. `topic` joins a module's page to its source: both are held out together."""

    name: str
    topic: str
    text: str

    @property
    def is_held_out(self) -> bool:
        return zlib.crc32((HELD_OUT_SALT + self.topic).encode()) % HELD_OUT_ONE_IN == 0


def pages(docs: Path) -> Iterator[Source]:
    """The reStructuredText sources under `docs`, the `_sources` folder of Python's HTML documentation."""
    for path in sorted(docs.rglob("*.rst*")):
        name = path.relative_to(docs).as_posix()
        if not name.startswith(LEFT_OUT_PAGES):
            yield Source(name, path.name.split(".rst")[0].split(".")[0], _without_credits(_read(path)))


def modules() -> Iterator[Source]:
    """The running Python's standard library, without tests, tables and installed packages."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    for path in sorted(stdlib.rglob("*.py")):
        name = path.relative_to(stdlib).as_posix()
        if not any(part in f"/{name}" for part in (f"/{left_out}" for left_out in LEFT_OUT_FILES)):
            yield Source(name, name.split("/")[0].removesuffix(".py"), _without_credits(_read(path)))


def page_text(page: Source) -> str:
    return "\n\n".join(rst.markdown(rst.parse(page.text.split("\n")), rst.Scope())).replace("\u200b", "")


def module_text(module: Source) -> str:
    return f"# Lib/{module.name}\n{module.text}"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").expandtabs(8)


def _without_credits(text: str) -> str:
    text = THANKED_PEOPLE.sub("", text)
    kept = (line for line in text.split("\n") if not CREDIT.search(line))
    return re.sub(r"\n{4,}", "\n\n\n", EMAIL.sub(NEUTRAL_ADDRESS, "\n".join(kept)))
