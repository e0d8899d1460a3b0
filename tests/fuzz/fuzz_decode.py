"""Decodes whatever libFuzzer thinks of, with coverage to guide it; see README.md beside it.

python tests/fuzz/fuzz_decode.py CORPUS -max_total_time=600
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from random import Random

import atheris

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))
os.environ["LLICTI_MODEL_PATH"] = str(TESTS / "fixtures")

with atheris.instrument_imports(include=["llicti_core"]):
    import mutations

    # The codec imports these when it needs them, which would be too late.
    import llicti_core.engines.native
    import llicti_core.engines.reference
    import llicti_core.frames
    import llicti_core.generic
    import llicti_core.metadata
    import llicti_core.ordinals
    import llicti_core.parts
    import llicti_core.value_table  # noqa: F401

SEEDS = mutations.seeds()
OTHERS = list(SEEDS.values())

decoded = inputs = 0


def one_input(data: bytes) -> None:
    """What libFuzzer calls: a failure is an exception."""
    global decoded, inputs
    inputs += 1
    decoded += mutations.check(data)
    if inputs % 8 == 0:
        mutations.check_pillow(data)
    if inputs % 10_000 == 0:
        print(f"{inputs} inputs, {decoded} of them decoded", file=sys.stderr)


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
    corpus.mkdir(exist_ok=True)
    if not any(corpus.iterdir()):
        for name, data in SEEDS.items():
            (corpus / name).write_bytes(data)
    atheris.Setup(sys.argv, one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
