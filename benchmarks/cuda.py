"""The CUDA engine on a GPU, in one call: tests, exactness over a folder both ways, speed, kernels, the GPU's ceilings.

    python benchmarks/cuda.py FOLDER_OF_PHOTOGRAPHS > cuda.md

Takes a checkout and an environment with its extra `cuda`, pytest, hypothesis and scikit-image; installs nothing. Prints
Markdown; progress goes to stderr. With TRITON_INTERPRET=1 it runs on tiny images without a GPU, to try itself out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import llicti_core
import llicti_core.torch
from llicti_core import models
from llicti_core.engines.cuda import CudaEngine, weights
from llicti_core.spec import BANDS, PARAMETER_KINDS

Pixels = NDArray[np.uint8]

ROOT = Path(__file__).resolve().parent.parent
TRIAL = triton.knobs.runtime.interpret
ROUNDS = 1 if TRIAL else 7
BATCH, BATCH_SIZE, LARGE_SIZE = (2, (3, 4), (5, 4)) if TRIAL else (64, (1250, 1600), (3000, 4000))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path, help="folder of photographs")
    photos = list(read_photos(parser.parse_args().photos))
    device = CudaEngine().device
    print(f"# {torch.cuda.get_device_name(device) if device.type == 'cuda' else 'Interpreter'}\n")
    print(f"PyTorch {torch.__version__}, Triton {triton.__version__}, {len(photos)} photographs\n")
    passed = run_tests()
    passed &= compare(photos)
    ceilings = measure_ceilings(device)
    measure_speed(photos, ceilings)
    return 0 if passed else 1


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def read_photos(folder: Path) -> Iterator[tuple[str, Pixels]]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in Image.registered_extensions():
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            yield path.name, pixels[:3, :4] if TRIAL else pixels


def run_tests() -> bool:
    """Run the tests marked for a GPU, the suite on the GPU among them."""
    progress("tests")
    if TRIAL:
        return True
    command = [sys.executable, "-P", "-m", "pytest", "-m", "cuda", "tests/engines/test_cuda.py"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(f"Tests: {run.stdout.strip().splitlines()[-1] if run.stdout.strip() else run.stderr}\n")
    if run.returncode:
        progress(run.stdout + run.stderr)
    return not run.returncode


def compare(photos: list[tuple[str, Pixels]]) -> bool:
    """Whether GPU and CPU write the same files and read each other's, in colour and in grey, with and without a fit."""
    differing: list[str] = []
    for name, colour in photos:
        progress(f"exactness: {name}")
        for pixels, effort in ((colour, 1), (colour[..., 1], 0)):
            written = llicti_core.encode(pixels, effort=effort, device="cuda")
            same = written == llicti_core.encode(pixels, effort=effort)
            same &= bool(np.array_equal(llicti_core.decode(written), pixels))
            read = llicti_core.torch.decode(written).cpu().numpy()
            same &= bool(np.array_equal(read, pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)))
            differing += [] if same else [f"{name} ({'grey' if pixels.ndim == 2 else 'colour'})"]
    print(f"Exactness: {2 * len(photos) - len(differing)} of {2 * len(photos)} files equal and read both ways")
    print(f"**Differing: {', '.join(differing)}**\n" if differing else "")
    return not differing


def seconds(work: Callable[[], object]) -> list[float]:
    """Of each round, after one that does not count."""
    times = []
    for _ in range(1 + ROUNDS):
        synchronise()
        began = time.perf_counter()
        work()
        synchronise()
        times.append(time.perf_counter() - began)
    return times[1:]


def synchronise() -> None:
    if not TRIAL:
        torch.cuda.synchronize()


def measure_ceilings(device: torch.device) -> dict[str, float]:
    """What the GPU itself can do: multiply-accumulates of bytes and bytes of memory a second."""
    progress("ceilings")
    side, size = (64, 1 << 10) if TRIAL else (8192, 1 << 30)
    a = torch.ones((side, side), dtype=torch.int8, device=device)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    products = side**3 / min(seconds(lambda: torch._int_mm(a, a.t())))
    copied = 2 * size / min(seconds(lambda: target.copy_(source)))
    print("| ceiling | measured |\n|---|---|")
    print(f"| 8-bit multiply-accumulates (torch._int_mm, {side} cubed) | {products / 1e12:.0f} T/s |")
    print(f"| memory, read and written (copy of {size >> 20} MiB) | {copied / 1e9:.0f} GB/s |\n")
    return {"products": products, "bytes": copied}


def resized(photos: list[tuple[str, Pixels]], number: int, size: tuple[int, int]) -> Pixels:
    """A photograph repeated, mirrored, to `size` rows and columns."""
    pixels = photos[number % len(photos)][1]
    grown = np.pad(
        pixels, [(0, max(0, n - m)) for n, m in zip(size, pixels.shape, strict=False)] + [(0, 0)], "symmetric"
    )
    return np.ascontiguousarray(np.roll(grown, number, axis=(0, 1))[: size[0], : size[1]])


def measure_speed(photos: list[tuple[str, Pixels]], ceilings: dict[str, float]) -> None:
    batch = [resized(photos, number, BATCH_SIZE) for number in range(BATCH)]
    large = [resized(photos, 0, LARGE_SIZE)]
    print("| what | median | best | Mpixel/s (median) |\n|---|---|---|---|")
    kept: list[bytes] = []
    for label, images in (
        (f"{BATCH} images of {BATCH_SIZE[1]} x {BATCH_SIZE[0]}", batch),
        (f"one image of {LARGE_SIZE[1]} x {LARGE_SIZE[0]}", large),
    ):
        tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]
        pixels = sum(image.shape[0] * image.shape[1] for image in images)
        for effort in (0, 1):
            report(f"encode, effort {effort}: {label}", pixels, encode_batch(tensors, effort))
        files = llicti_core.torch.encode_batch(tensors, effort=0)
        report(f"decode: {label}", pixels, lambda files=files: llicti_core.torch.decode_batch(files))  # type: ignore[misc]
        kept = kept or files
    print()
    pixels = BATCH * BATCH_SIZE[0] * BATCH_SIZE[1]
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in batch]
    profile("decode", pixels, lambda: llicti_core.torch.decode_batch(kept), ceilings)
    profile("encode, effort 0", pixels, encode_batch(tensors, 0), ceilings)


def encode_batch(tensors: list[Tensor], effort: int) -> Callable[[], object]:
    return lambda: llicti_core.torch.encode_batch(tensors, effort=effort)


def report(label: str, pixels: int, work: Callable[[], object]) -> None:
    progress(label)
    times = seconds(work)
    middle = statistics.median(times)
    print(f"| {label} | {middle * 1e3:.1f} ms | {min(times) * 1e3:.1f} ms | {pixels / middle / 1e6:.1f} |")


def profile(label: str, pixels: int, work: Callable[[], object], ceilings: dict[str, float]) -> None:
    """A table of the kernels of one call, with their share of the ceiling of what they are made of."""
    progress(f"kernels: {label}")
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CPU if TRIAL else activity.CUDA]) as profiler:
        work()
        synchronise()
    floors = floor_seconds(pixels, ceilings)
    print(f"Kernels, {label}, {pixels / 1e6:.0f} Mpixel:\n\n| kernel | calls | ms | ns a pixel | of its ceiling |")
    print("|---|---|---|---|---|")
    averages = profiler.key_averages()
    for event in sorted(averages, key=lambda event: -event.self_device_time_total)[: 3 if TRIAL else 16]:
        taken = event.self_device_time_total / 1e6
        part = f"{100 * floors[event.key] / taken:.1f} %" if event.key in floors and taken else ""
        print(f"| {event.key[:60]} | {event.count} | {taken * 1e3:.2f} | {taken / pixels * 1e9:.3f} | {part} |")
    print()


def floor_seconds(pixels: int, ceilings: dict[str, float]) -> dict[str, float]:
    """The least time of kernels by what docs/performance.md counts: products of the network, bytes of the others."""
    model = weights.pack(models.load(), CudaEngine().device)
    group = 16 * model.width
    hidden = [model.width * (band.inputs + (model.depth - 1) * model.width) for band in model.bands]
    network = sum(hidden) / len(BANDS) + PARAMETER_KINDS * group
    bytes_moved = {
        "gather_band": 8 + 128 + 6,
        "decode_band": 16 * 4 + 16 * 2 + 6 + 8,
        "merge_colours": 8 + 3,
        "split_colours": 8 + 3,
        "encode_streams": 12 + 2,
    }
    floors = {name: count * pixels / ceilings["bytes"] for name, count in bytes_moved.items()}
    floors["predict_band"] = network * pixels / ceilings["products"]
    floors["encode_band"] = (network + group) * pixels / ceilings["products"]
    return floors


if __name__ == "__main__":
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        sys.exit(main())
    except llicti_core.DeviceError as error:
        sys.exit(f"benchmarks/cuda.py: {error}")
