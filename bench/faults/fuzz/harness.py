"""`python -m bench.faults.fuzz.harness TARGET FOLDER OWN RUNS SEED`: one target, one process, so many inputs.

With atheris inputs are made by what they reach in the code; without it they are made up by seed. An input that a
mistake of ours was found with lies in FOLDER afterwards, with what was raised; OWN is what the target may write to.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST_BYTES = 600
_INSTRUMENTED = ["engine", "jinja2", "bench.answer_reader", "bench.http_reader", "bench.faults.whole_reader"]


def main() -> None:
    name, folder, own, runs, seed = (
        sys.argv[1],
        Path(sys.argv[2]),
        Path(sys.argv[3]),
        int(sys.argv[4]),
        int(sys.argv[5]),
    )
    if importlib.util.find_spec("atheris"):
        _by_coverage(name, folder, own, runs, seed)
        return
    feed = keeping_problems(name, folder, own)
    source = random.Random(seed)
    for _ in range(runs):
        feed(source.randbytes(source.choice((8, 60, 200, MOST_BYTES))))


def _by_coverage(name: str, folder: Path, own: Path, runs: int, seed: int) -> None:
    """Ends the process. What was worth keeping is in the folder's corpus, for the next time."""
    atheris: Any = importlib.import_module("atheris")

    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=_INSTRUMENTED):
        feed = keeping_problems(name, folder, own)
    options = [f"-runs={runs}", f"-seed={seed + 1}", f"-max_len={MOST_BYTES}", "-rss_limit_mb=0", "-timeout=60"]
    kept = [f"-artifact_prefix={folder}/", "-reload=0", "-verbosity=0", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, *kept, str(corpus)], feed)
    atheris.Fuzz()


def keeping_problems(name: str, folder: Path, own: Path) -> Callable[[bytes], None]:
    """Feeds the target. One mistake shall not keep it from the next: each is written down once, and it goes on."""
    from bench.faults.fuzz.targets import TARGETS  # noqa: PLC0415  imported when it can be instrumented

    folder.mkdir(parents=True, exist_ok=True)
    target = TARGETS[name](own)

    def feed(data: bytes) -> None:
        try:
            target.feed_in_time(data)
        except Exception as error:  # whatever it is, it is what was looked for
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} {last.filename}:{last.lineno}"
            stem = f"problem-{hashlib.sha256(where.encode()).hexdigest()[:12]}"
            if not (folder / f"{stem}.txt").exists():
                (folder / f"{stem}.bytes").write_bytes(data)
                (folder / f"{stem}.txt").write_text(traceback.format_exc())

    return feed


if __name__ == "__main__":
    main()
