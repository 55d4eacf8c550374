"""Builds the conversations: questions about documented objects, sections, terms and modules, and small talk.

It turns documentation into questions and answers; it knows nothing of tokens."""

import ast
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from . import rst, smalltalk
from .corpus import Source

ANSWER_LIMIT = 700  # characters; an answer ends with the block that crosses it
CODE_LIMIT = 500
PHRASINGS_PER_ENTRY, PHRASINGS_PER_DOCSTRING, PHRASINGS_PER_SECTION = 5, 2, 3
PHRASINGS_PER_FAVOURITE = 12  # what a newcomer is likely to ask about
FAVOURITES = {
    None, "builtins", "os", "os.path", "pathlib", "json", "re", "math", "random", "datetime", "time",
    "collections",
        "itertools", "functools", "string", "sys", "subprocess", "shutil", "glob", "csv", "typing",
    "dataclasses", "enum",
    "contextlib", "copy", "logging", "argparse", "asyncio", "threading", "heapq", "bisect", "textwrap",
    "pprint",
}  # fmt: skip

DESCRIBE = [
    "What does {} do?", "What does {} do?", "What does {} do in Python?", "What is {}?", "Explain {}",
    "Explain {}.",
    "Can you explain {}?", "How does {} work?", "Tell me about {}", "What is {} used for?", "Describe {}.",
    "What is the purpose of {}?", "{}?", "{}", "I don't understand {}", "Please explain what {} does.",
    "What's {}?",
    "When would I use {}?", "help({})", "Document {}",
]  # fmt: skip
SHOW = [
    "Show me how to use {}", "How do I use {}?", "Give me an example of {}", "Example of {}",
    "Show me an example of {}.",
    "How can I use {}?", "How to use {}", "Can you show me how {} is used?", "Write an example with {}",
]  # fmt: skip
SIGNATURE = [
    "What arguments does {} take?",
    "What is the signature of {}?",
    "How is {} called?",
    "Parameters of {}?",
]
RETURNS = ["What does {} return?", "What is the return value of {}?", "What do I get from {}?"]
WHERE = ["Which module has {}?", "Where is {}?", "Which module is {} in?", "How do I import {}?", "Import {}"]
ADDED = ["When was {} added?", "Since which version does {} exist?", "Which Python version added {}?"]
RAISED = [
    "When is {} raised?",
    "What does {} mean?",
    "What is {}?",
    "Why do I get {}?",
    "I got {}. What is wrong?",
]
MODULE = ["What is the {} module?", "What does the {} module do?", "What is {}?",
          "Tell me about the {} module",
          "What is the {} module for?", "Explain {}", "When should I use {}?", "What can I do with {}?",
          "{} module"]  # fmt: skip
MODULE_FOR = [
    "Which module is for this: {}?",
    "Which module should I use? I want: {}",
    "Which module does this: {}?",
]
CONTENTS = [
    "What functions are in {}?",
    "List the functions of {}",
    "What is in the {} module?",
    "What does {} contain?",
]
SECTION = ["Explain {}", "Tell me about {}", "What about {}?", "What should I know about {}?", "{}"]
TERM = ["What is {a} {}?", "What is {a} {}?", "What is {a} {} in Python?", "Define {}",
        "What does {} mean?", "Explain {}",
        "What's {a} {}?", "Explain the term {}", "{}?"]  # fmt: skip

DOCSTRINGS_LEFT_OUT = ("idlelib", "lib2to3", "distutils", "turtledemo", "turtle", "tkinter", "test", "_")


class Pair(NamedTuple):
    question: str
    answer: str


class Turn(NamedTuple):
    role: str
    content: str


Conversation = list[Turn]


@dataclass
class Knowledge:
    """What the documentation says, sorted by the kind of question it answers."""

    entries: dict[str, rst.Entry] = field(default_factory=dict)
    docstrings: dict[str, rst.Entry] = field(default_factory=dict)
    sections: list[rst.Section] = field(default_factory=list)
    terms: list[rst.Section] = field(default_factory=list)
    modules: dict[str, list[str]] = field(default_factory=dict)  # synopsis first, then the page's first paragraphs


def learn(pages: Iterable[Source], modules: Iterable[Source]) -> Knowledge:
    known = Knowledge()
    for page in sorted(pages, key=lambda page: not page.name.startswith("library/")):
        if not page.name.startswith(("c-api/", "distutils/", "extending/", "library/test.")):
            _learn_page(known, page)
    for module in modules:
        if not module.topic.startswith(DOCSTRINGS_LEFT_OUT):
            for entry in _docstrings(module):
                if entry.name not in known.entries:
                    known.docstrings.setdefault(entry.name, entry)
    return known


def _learn_page(known: Knowledge, page: Source) -> None:
    blocks = rst.parse(page.text.split("\n"))
    for entry in rst.entries(blocks, rst.Scope()):
        if re.fullmatch(r"@?[\w.]+", entry.name) and not entry.kind.startswith(("C ", "form", "option")):
            known.entries.setdefault(entry.name, entry)
    known.terms += rst.definitions(blocks, rst.Scope())
    sections = list(rst.sections(blocks, rst.Scope()))
    known.sections += [section for section in sections if len(section.title) < 90 and "---" not in section.title]
    for module, synopsis in rst.synopses(blocks):
        intro = [text for text in (sections[0].body if sections else []) if _is_introduction(text, module)]
        known.modules.setdefault(module, [synopsis, *intro])


def _is_introduction(text: str, module: str) -> bool:
    return not text.startswith(("**Source", f"The `{module}` module:", "See also", "Deprecated", "```", "- "))


def _docstrings(module: Source) -> Iterator[rst.Entry]:
    """The public functions, classes and methods of a source file that carry a docstring."""
    try:
        tree = ast.parse(module.text)
    except SyntaxError:  # a credit line inside a literal was taken out
        return
    dotted = module.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for node in tree.body:
        yield from _documented(node, dotted, dotted, "function")
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for member in node.body:
                yield from _documented(member, f"{dotted}.{node.name}", dotted, "method")


def _documented(node: ast.stmt, owner: str, module: str, kind: str) -> Iterator[rst.Entry]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
        return
    text = ast.get_docstring(node)
    if not text or ":param" in text:
        return
    name = f"{owner}.{node.name}"
    is_class = isinstance(node, ast.ClassDef)
    signature = name if isinstance(node, ast.ClassDef) else f"{name}({ast.unparse(node.args)})"
    body = [re.sub(r"\s+", " ", part) for part in text.split("\n\n")[:2] if not part.startswith((" ", ">>>"))]
    yield rst.Entry(name, "class" if is_class else kind, module, signature, body)


# --- questions and answers ------------------------------------------------------------------------


def pairs(known: Knowledge, rng: random.Random) -> list[Pair]:
    """Questions and answers about everything known, each thing asked about in several ways."""
    short_names = Counter(name.rsplit(".", 1)[-1] for name in known.entries)
    asked: list[Pair] = []
    for entry in known.entries.values():
        is_favourite = entry.module in FAVOURITES and entry.kind != "bytecode instruction"
        count = PHRASINGS_PER_FAVOURITE if is_favourite else PHRASINGS_PER_ENTRY
        asked += _about(entry, short_names, rng, count)
    for entry in known.docstrings.values():
        asked += _about(entry, short_names, rng, PHRASINGS_PER_DOCSTRING, describe_only=True)
    asked += _about_sections(known.sections, rng)
    asked += _about_terms(known.terms, rng)
    asked += _about_modules(known, rng)
    return asked


def _about(
    entry: rst.Entry, short_names: Counter[str], rng: random.Random, count: int, describe_only: bool = False
) -> list[Pair]:
    """`count` descriptions in different words, and one pair of every other kind that fits the entry."""
    short = entry.name.rsplit(".", 1)[-1]
    names = [entry.name, entry.name, entry.name]
    if short_names[short] == 1 and len(short) > 3 and not describe_only:
        names.append(short)

    def ask(forms: list[str]) -> str:
        return _vary(rng.choice(forms).format(_styled(rng.choice(names), entry.kind, rng)), rng)

    answer = describe(entry)
    found = [Pair(_vary(form.format(_styled(rng.choice(names), entry.kind, rng)), rng), answer)
             for form in rng.sample(DESCRIBE, count)]  # fmt: skip
    if describe_only:
        return found
    found[0] = Pair(f"What does {entry.name} do?", answer)
    if entry.kind == "exception":
        found.append(Pair(ask(RAISED), answer))
    found += [Pair(ask(SHOW), show(entry)) for _ in range(2 if entry.examples else 1)]
    if "(" in entry.signature:
        found.append(Pair(ask(SIGNATURE), f"It is called as `{entry.signature}`."))
    if returned := _returned(entry):
        found.append(Pair(ask(RETURNS), returned))
    if entry.module and entry.name == f"{entry.module}.{short}":
        line = f"from {entry.module} import {short}"
        where = f"`{short}` is in the `{entry.module}` module:\n\n```python\n{line}\n```"
        name = short if short_names[short] == 1 else entry.name
        found.append(Pair(_vary(rng.choice(WHERE).format(_styled(name, "", rng)), rng), where))
    if entry.added:
        found.append(Pair(ask(ADDED), f"`{entry.name}` was added in Python {entry.added}."))
    return found


def describe(entry: rst.Entry) -> str:
    """What the object is, in one sentence, and then what the documentation says first about it."""
    article = "an" if entry.kind[0] in "aeiou" else "a"
    owner = entry.name.rpartition(".")[0]
    if not owner:
        place = "built-in " if entry.kind in ("function", "class", "exception", "constant") else ""
        article, place = ("a", place) if place else (article, place)
        opening = f"`{entry.signature}` is {article} {place}{entry.kind}."
    elif owner == entry.module:
        opening = f"`{entry.signature}` is {article} {entry.kind} in the `{owner}` module."
    else:
        opening = f"`{entry.signature}` is {article} {entry.kind} of `{owner}`."
    return "\n\n".join([opening, *shortened(entry.body)])


def show(entry: rst.Entry) -> str:
    if entry.examples:
        return f"Here is an example of `{entry.name}`:\n\n{_code(entry.examples[0])}"
    body = shortened(entry.body, 300)
    return "\n\n".join(
        [f"The documentation has no example of `{entry.name}`. It is written `{entry.signature}`.", *body]
    )


def shortened(body: list[str], limit: int = ANSWER_LIMIT) -> list[str]:
    """The first blocks, up to about `limit` characters; a long paragraph is cut after a sentence."""
    kept: list[str] = []
    left = limit
    for block in body:
        if kept and (left < 120 or (block.startswith("```") and len(block) > left)):
            break
        if block.startswith("```"):
            block = _code(block)
        elif len(block) > left:
            block = _first_sentences(block, left)
        kept.append(block)
        left -= len(block)
    if len(kept) > 1 and kept[-1].endswith(":"):
        kept.pop()
    return kept


def _first_sentences(text: str, limit: int) -> str:
    end = max((m.end() for m in re.finditer(r"[.!?](?=\s)", text[:limit])), default=0)
    if not end:
        following = re.search(r"[.!?](?=\s|$)", text[limit:])
        end = limit + following.end() if following else limit
    return text[:end]


def _code(block: str) -> str:
    """A fenced block of at most CODE_LIMIT characters, cut after a whole line."""
    if len(block) <= CODE_LIMIT:
        return block
    return block[:CODE_LIMIT].rpartition("\n")[0].rstrip() + "\n```"


def _returned(entry: rst.Entry) -> str | None:
    for block in entry.body:
        for sentence in re.split(r"(?<=[.!?])\s+", block):
            if found := re.match(r"Returns? (?!to )(.{8,300})$", sentence, re.S):
                return f"`{entry.name}` returns {found[1]}"
    return None


def _about_sections(sections: list[rst.Section], rng: random.Random) -> Iterator[Pair]:
    titles = Counter(section.title for section in sections)
    for title, body in sections:
        if titles[title] > 1 or not body:
            continue
        answer = "\n\n".join(shortened(body))
        if title.endswith("?"):
            forms = ["{}"] * PHRASINGS_PER_SECTION
        else:
            forms = rng.sample(SECTION, PHRASINGS_PER_SECTION)
        for form in forms:
            yield Pair(_vary(form.format(title), rng), answer)


def _about_terms(terms: list[rst.Section], rng: random.Random) -> Iterator[Pair]:
    bodies = {term.lower(): body for term, body in terms}
    for term, body in terms:
        if found := re.fullmatch(r"See (.+)\.", body[0]):
            body = bodies.get(found[1].lower(), body)
        article = "an" if term[0].lower() in "aeiou" else "a"
        for form in TERM:
            yield Pair(_vary(form.format(term, a=article), rng), "\n\n".join(shortened(body)))


def _about_modules(known: Knowledge, rng: random.Random) -> Iterator[Pair]:
    functions: dict[str, list[str]] = {}
    for entry in known.entries.values():
        if entry.module and entry.kind == "function":
            functions.setdefault(entry.module, []).append(f"`{entry.name}`")
    for module, (synopsis, *intro) in known.modules.items():
        sentence = f"The `{module}` module: {synopsis.rstrip('.')}."
        for form in MODULE:
            answer = "\n\n".join([sentence, *shortened(intro, 500)])
            yield Pair(_vary(form.format(_styled(module, "", rng)), rng), answer)
        for form in MODULE_FOR:
            yield Pair(_vary(form.format(synopsis.rstrip(".")), rng), sentence)
        if names := functions.get(module):
            some = "" if len(names) <= 8 else " Among its functions are these."
            listed = "\n".join(f"- {name}" for name in names[:8])
            for form in CONTENTS:
                yield Pair(_vary(form.format(module), rng), f"{sentence}{some}\n\n{listed}")


def _styled(name: str, kind: str, rng: random.Random) -> str:
    """A name as people write it: plain, in backquotes, with parentheses."""
    style = rng.random()
    if style < 0.2:
        return f"`{name}`"
    if style < 0.4 and ("function" in kind or "method" in kind):
        return f"{name}()"
    return name


def _vary(question: str, rng: random.Random) -> str:
    if rng.random() < 0.15:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.2:
        question = question.rstrip("?.")
    return question


# --- conversations --------------------------------------------------------------------------------


def conversations(asked: list[Pair], rng: random.Random) -> list[Conversation]:
    """Every pair in one conversation; most have one question, some two or three, a quarter a system one."""
    asked = asked.copy()
    rng.shuffle(asked)
    held: list[Conversation] = []
    while asked:
        turns = [Turn("system", rng.choice(smalltalk.SYSTEM_PROMPTS))] if rng.random() < 0.25 else []
        for _ in range(min(len(asked), rng.choices([1, 2, 3], [85, 10, 5])[0])):
            question, answer = asked.pop()
            turns += [Turn("user", question), Turn("assistant", answer)]
        held.append(turns)
    return held
