"""`python -m tests.simulated --seed N` replays one seed; `--seeds N --from M` runs many and tells which fail."""

from __future__ import annotations

import argparse
import sys

from tests.simulated.replay import Failure, replay


def main() -> int:
    """Exit code 1 if a seed fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulated", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, and show all that happens")
    parser.add_argument("--quiet", action="store_true", help="with --seed: only how it ends")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="SEED", help="the first of many")
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    options = parser.parse_args()
    if options.seed is not None:
        result = replay(options.seed, None if options.quiet else print)
        print(result)
        return int(isinstance(result, Failure))
    return _many(range(options.first, options.first + options.seeds))


def _many(seeds: range) -> int:
    results = [replay(seed) for seed in seeds]
    failures = [result for result in results if isinstance(result, Failure)]
    for failure in failures:
        print(f"{failure.seed:6d}  step {failure.step:6d}  {failure.problem}")
    answered = sum(result.answered for result in results if not isinstance(result, Failure))
    steps = sum(result.steps if not isinstance(result, Failure) else result.step for result in results)
    print(f"{len(failures)} of {len(results)} seeds fail; {steps} events, {answered} requests answered.")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
