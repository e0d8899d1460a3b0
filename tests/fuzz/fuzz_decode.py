"""Decodes whatever libFuzzer thinks of, with coverage to guide it; see README.md beside it.

python tests/fuzz/fuzz_decode.py CORPUS -max_total_time=600
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from random import Random

import atheris

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "support"))
os.environ["LLICTI_MODEL_PATH"] = str(TESTS / "fixtures")
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each of its threads takes address space

with atheris.instrument_imports(include=["llicti_core"]):
    import mutations

    # The codec imports these when it needs them, which would be too late.
    import llicti_core.engines.native
    import llicti_core.engines.reference
    import llicti_core.fallback
    import llicti_core.ordinals
    import llicti_core.value_table  # noqa: F401

SEEDS = mutations.seeds()
OTHERS = list(SEEDS.values())

decoded = inputs = 0


MAX_SECONDS = 10
"""Of processor time to decode a frame."""

MAX_MORE_ADDRESS_SPACE = 900 << 20
"""Bytes that the process may take beside what it has already, so that what takes too much fails as MemoryError.
Sanitizers take far more themselves, and are run without this limit."""

COSTLY = 500
"""After so many inputs comes one that is made to cost much; and what the process has is looked at again, since under
Atheris it grows by some 6 KiB an input, and without by next to nothing."""


def one_input(data: bytes) -> None:
    """What libFuzzer calls: a failure is an exception."""
    global inputs
    inputs += 1
    if inputs % COSTLY == 0:
        limit_memory()
        check(mutations.costly(Random(inputs)), f"mutations.costly(Random({inputs}))")
    check(data, "this input")
    if inputs % 10_000 == 0:
        print(f"{inputs} inputs, {decoded} of them decoded", file=sys.stderr)


def check(data: bytes, name: str) -> None:
    """Check an input; the limit of the process keeps its memory in bounds."""
    global decoded
    try:
        decoded += mutations.check(data, MAX_SECONDS)
        if inputs % 8 == 0:
            mutations.check_pillow(data)
    except BaseException:
        print(f"failed: {name}", file=sys.stderr)
        raise


def limit_memory() -> None:
    """Let the process take MAX_MORE_ADDRESS_SPACE more than it has now."""
    if "LD_PRELOAD" not in os.environ:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MAX_MORE_ADDRESS_SPACE, resource.RLIM_INFINITY))


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutations that know of sections; libFuzzer's own, which learn from coverage, happen inside of them."""
    rng = Random(seed)

    def mutate_bytes(payload: bytes, rng: Random) -> bytes:
        if rng.random() < 0.5:
            return mutations.changed_bytes(payload, rng)
        return bytes(atheris.Mutate(payload, len(payload) + 16))

    changed = mutations.mutate(data, rng, OTHERS, mutate_bytes) if data else rng.choice(OTHERS)
    if rng.random() < 0.5:
        changed = mutations.with_right_checksums(changed)
    return changed if len(changed) <= max_size else data[:max_size]


def main() -> None:
    """Fill an empty corpus with what the suite begins with, and begin."""
    corpus = Path(next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "corpus"))
    if not corpus.is_file():  # which is an input to run again
        corpus.mkdir(exist_ok=True)
        for name, data in SEEDS.items() if not any(corpus.iterdir()) else ():
            (corpus / name).write_bytes(data)
    limit_memory()
    atheris.Setup(sys.argv, one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
