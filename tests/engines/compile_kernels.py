"""Compiles every kernel as the CUDA engine starts it, for GPUs that need not be there; run in a process of its own.

    python compile_kernels.py 90 192 [quick]

The arguments are the compute capability and the width of a model; its depth is nothing that kernels are compiled for.
`quick` leaves out what differs little. Prints a JSON object for each kernel: its name, what it was compiled for, the
bytes of shared memory and of stack and the registers that it takes, its barriers, whether it uses tensor cores, and
whether what it stores in 16 bits can be loaded after its last barrier.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import numpy as np
import torch
import triton
from random_models import random_model
from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend

from llicti_core.engines import cuda
from llicti_core.engines.base import NOT_ADAPTED, TiledImage
from llicti_core.engines.cuda import checksum, launch
from llicti_core.engines.cuda.layout import FlightTile, Layout, Picture
from llicti_core.engines.native import NativeEngine
from llicti_core.errors import FormatError
from llicti_core.view import TileGrid

TYPES = {torch.uint8: "u8", torch.int8: "i8", torch.int16: "i16", torch.int32: "i32", torch.int64: "i64"}
OPTIONS = {"num_warps", "num_stages", "maxnreg"}


def type_of(argument: Any) -> Any:
    """What the compiler calls the type of an argument of a kernel."""
    if isinstance(argument, tuple):
        return tuple(map(type_of, argument))
    return f"*{TYPES[argument.dtype]}" if isinstance(argument, torch.Tensor) else "i32"


def record(started: dict[str, tuple[Any, ...]]) -> Any:
    """A stand-in for launch.start that keeps what is asked for and starts nothing."""

    def start(kernel: Any, programs: int, *arguments: Any, **options: int) -> None:
        constants = {key: value for key, value in options.items() if key not in OPTIONS}
        types = {name: type_of(value) for name, value in zip(kernel.arg_names, arguments, strict=False)}
        names = [name for name in kernel.arg_names if name not in types]
        assert set(names) == set(constants), f"{kernel.__name__}: {names}, {constants}"
        chosen = {key: value for key, value in options.items() if key in OPTIONS}
        signature = types | dict.fromkeys(names, "constexpr")
        started[f"{kernel.__name__} {sorted(constants.items())} {chosen}"] = (kernel, signature, constants, chosen)

    return start


def starts(width: int) -> list[tuple[Any, ...]]:
    """Every way in which colour and grey images, of eight bits and of ten, start kernels."""
    model = random_model((width, 2), (width, 2), 60, (32, 200), 0)
    started: dict[str, tuple[Any, ...]] = {}
    launch.start = record(started)
    setattr(cuda._Flight, "_empty", lambda self, dtype, *shape: torch.zeros(shape, dtype=dtype))  # noqa: B010
    device = torch.device("cpu")
    for bits, channels in itertools.product((8, 10), (3, 1)):
        pixels = np.arange(70 * 40 * channels).reshape(70, 40, channels) % 256
        pixels = pixels.astype(np.uint8) if bits == 8 else pixels.astype(np.uint16)
        tiles = list(TileGrid(40, 70, 1 << 10))
        coded = NativeEngine().encode(TiledImage(memoryview(pixels), tiles, model, NOT_ADAPTED, bits), 1)
        layout = Layout([Picture(70, 40, tiles, NOT_ADAPTED)], [FlightTile(0, 0)], channels)
        flight = cuda._Flight(layout, model, device, bits)
        raw = torch.from_numpy(cuda._on_device(pixels)).flatten()
        checksum.start(raw.view(torch.uint8))
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


def registers_and_stack(cubin: bytes) -> list[int]:
    """Registers, and bytes of stack, of a thread; the stack is where registers are spilled to."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        usage = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (found,) = re.findall(r"REG:(\d+) STACK:(\d+)", usage)
    return [int(number) for number in found]


def stores_are_visible(ptx: str) -> bool:
    """Whether a barrier comes between the last of the stores of 16 bits and the next branch, that to the next step, and
    no load bypasses the caches that stores go through."""
    after = ptx[ptx.rfind("st.global.b16") :]
    following = re.search(r"bar\.sync|\bbra\b", after)
    return "ld.global.nc" not in ptx and following is not None and following[0] == "bar.sync"


def pointers(signature: Any, place: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Where the pointers are in a signature."""
    for index, found in enumerate(signature):
        if isinstance(found, tuple):
            yield from pointers(found, (*place, index))
        elif found.startswith("*"):
            yield (*place, index)


def main(capability: int, width: int, quick: bool) -> None:
    for kernel, signature, constants, options in starts(width):
        if quick and "CHROMA" in constants and constants["KA"] + constants["KB"] not in (64, 160):
            continue  # as band 10, and compilation takes its time
        aligned = {place: [["tt.divisibility", 16]] for place in pointers(signature.values())}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
        target = GPUTarget("cuda", capability, 32)
        decodes_luma = kernel.__name__ == "decode_pass" and not constants["CHROMA"]
        alike = constants.get("CHANNELS") == 1 or (constants.get("EXTRA") and not decodes_luma)
        if quick and alike:
            check_meaning(source, target, options)
            continue
        compiled = triton.compile(source, target=target, options=options)
        assert compiled.asm["cubin"]
        wide = "wgmma" in compiled.asm["ptx"] or "mma.sync" in compiled.asm["ptx"]
        registers, stack = registers_and_stack(compiled.asm["cubin"])
        barriers = compiled.asm["ptx"].count("bar.sync")
        facts = {"kernel": kernel.__name__, "options": {**constants, **options}, "shared": compiled.metadata.shared}
        facts |= {"registers": registers, "stack": stack, "barriers": barriers, "tensor cores": wide}
        print(json.dumps({**facts, "visible": stores_are_visible(compiled.asm["ptx"])}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), "quick" in sys.argv[3:])
