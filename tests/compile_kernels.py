"""Compiles every kernel as the CUDA engine starts it, for GPUs that need not be there; run in a process of its own.

    python compile_kernels.py 90 narrow | default

Prints a JSON object for each kernel: its name, what it was compiled for, and its use of shared memory.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import numpy as np
import torch
import triton
from test_engines import random_model
from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend

from llicti_core import models
from llicti_core.codec import tile_grid
from llicti_core.engines import NO_CORRECTIONS, cuda
from llicti_core.engines.cuda import checksum, launch
from llicti_core.engines.cuda.layout import Layout, Part, Picture
from llicti_core.engines.native import NativeEngine
from llicti_core.errors import FormatError

TYPES = {torch.uint8: "u8", torch.int8: "i8", torch.int16: "i16", torch.int32: "i32", torch.int64: "i64"}
OPTIONS = {"num_warps", "num_stages", "maxnreg"}


def record(started: dict[str, tuple[Any, ...]]) -> Any:
    """A stand-in for launch.start that keeps what is asked for and starts nothing."""

    def start(kernel: Any, programs: int, *arguments: Any, **options: int) -> None:
        constants = {key: value for key, value in options.items() if key not in OPTIONS}
        types = {
            name: f"*{TYPES[value.dtype]}" if isinstance(value, torch.Tensor) else "i32"
            for name, value in zip(kernel.arg_names, arguments, strict=False)
        }
        names = [name for name in kernel.arg_names if name not in types]
        assert set(names) == set(constants), f"{kernel.__name__}: {names}, {constants}"
        chosen = {key: value for key, value in options.items() if key in OPTIONS}
        signature = types | dict.fromkeys(names, "constexpr")
        started[f"{kernel.__name__} {sorted(constants.items())} {chosen}"] = (kernel, signature, constants, chosen)

    return start


def starts(width: str) -> list[tuple[Any, ...]]:
    """Every way in which a colour and a grey image start kernels."""
    model = random_model(16, 2, 60, (32, 200), 0) if width == "narrow" else models.load()
    started: dict[str, tuple[Any, ...]] = {}
    launch.start = record(started)
    cuda._Flight._empty = lambda self, dtype, *shape: torch.zeros(shape, dtype=dtype)
    device = torch.device("cpu")
    for channels in (3, 1):
        pixels = np.arange(70 * 40 * channels).reshape(70, 40, channels).astype(np.uint8)
        tiles = list(tile_grid(40, 70, 10))
        coded = NativeEngine().encode(pixels, tiles, NO_CORRECTIONS, model, 1)
        layout = Layout([Picture(70, 40, tiles, NO_CORRECTIONS)], [Part(0, 0)], channels)
        flight = cuda._Flight(layout, cuda.pack(model, device), channels, 0, device)
        raw = torch.from_numpy(pixels).flatten()
        checksum.crc32(raw)
        flight.encode(raw)
        try:
            flight.decode(coded, raw)
        except FormatError:  # nothing was decoded
            pass
    return list(started.values())


def check_meaning(source: ASTSource, target: GPUTarget, options: dict[str, int]) -> None:
    """The compiler's first pass alone, which finds types and shapes that do not fit."""
    backend = make_backend(target)
    chosen, context = backend.parse_options(options), ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    source.make_ir(target, chosen, backend.get_codegen_implementation(chosen), backend.get_module_map(), context)


def main(capability: int, width: str) -> None:
    for kernel, signature, constants, options in starts(width):
        if width == "narrow" and constants.get("K") == 64:
            continue  # as 128, and compilation takes its time
        aligned = {
            (index,): [["tt.divisibility", 16]]
            for index, parameter in enumerate(kernel.params)
            if signature[parameter.name].startswith("*") and not parameter.do_not_specialize_on_alignment
        }
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
        target = GPUTarget("cuda", capability, 32)
        if width == "narrow" and constants.get("CHANNELS") == 1:
            check_meaning(source, target, options)
            continue
        compiled = triton.compile(source, target=target, options=options)
        assert compiled.asm["cubin"]
        wide = "wgmma" in compiled.asm["ptx"] or "mma.sync" in compiled.asm["ptx"]
        facts = {"kernel": kernel.__name__, "options": {**constants, **options}}
        print(json.dumps({**facts, "shared": compiled.metadata.shared, "tensor cores": wide}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
