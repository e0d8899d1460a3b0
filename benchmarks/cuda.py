"""The CUDA engine on a GPU, in one call: tests, exactness over a folder both ways, speed, kernels, the GPU's ceilings.

    python benchmarks/cuda.py FOLDER_OF_PHOTOGRAPHS --minutes 14 --output cuda.md

Takes a checkout that is installed, with its extra `cuda`, pytest, hypothesis and scikit-image; installs nothing. Each
step is a process with a time limit of its own, and adds what it finds, as it finds it, to the output, in Markdown: what
is there stays, whatever happens to a later step. Compiled kernels are kept in Triton's cache for the next one. With
TRITON_INTERPRET=1 it runs on tiny images without a GPU, to try itself out.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from PIL import Image

import llicti_core
import llicti_core.torch
from llicti_core import models
from llicti_core.engines.cuda import CudaEngine, weights
from llicti_core.errors import DeviceError

Pixels = NDArray[np.uint8]

ROOT = Path(__file__).resolve().parent.parent
TRIAL = triton.knobs.runtime.interpret
ROUNDS = 1 if TRIAL else 5
BATCH, BATCH_SIZE, LARGE_SIZE = (2, (3, 5), (5, 6)) if TRIAL else (64, (1250, 1600), (3000, 4000))
MODELS = ("default", "best")

SHARES = {"tests": 1 / 3, "exactness": 1 / 4, "batch": 1 / 4, "large": 1 / 6, "kernels": 1 / 8, "ceilings": 1 / 12}
"""Of the time, what each step may take at most; all of them take less together where nothing is wrong."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path, help="folder of photographs")
    parser.add_argument("--minutes", type=float, default=14, help="time for all steps (default: 14)")
    parser.add_argument("--output", type=Path, default=Path("cuda.md"), help="where results go (default: cuda.md)")
    parser.add_argument("--step", choices=SHARES, help="this one alone, in this process")
    chosen = parser.parse_args()
    if chosen.step:
        report = Report(chosen.output)
        return STEPS[chosen.step](report, chosen.photos)
    return run_steps(chosen.photos, chosen.minutes, chosen.output)


def run_steps(photos: Path, minutes: float, output: Path) -> int:
    device = CudaEngine().device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "Interpreter"
    output.write_text(f"# {name}\n\nPyTorch {torch.__version__}, Triton {triton.__version__}\n", encoding="utf-8")
    report = Report(output)
    end = time.monotonic() + 60 * minutes
    failed = False
    for step, share in SHARES.items():
        limit = min(60 * minutes * share, end - time.monotonic())
        report.line(f"\n## {step.capitalize()}\n")
        if limit < 5:
            report.line("**Not run: no time was left.**")
            failed = True
            continue
        began = time.monotonic()
        command = [sys.executable, __file__, photos, "--output", output, "--step", step]
        # A group of its own, so that what a step has started ends with it.
        with subprocess.Popen(command, start_new_session=True) as process:
            try:
                code = process.wait(limit)
                result = f"exit status {code}" if code else ""
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                result = f"cut off after {limit:.0f} s"
        failed |= bool(result)
        report.line(f"\n{step}: {time.monotonic() - began:.0f} s{f', **{result}**' if result else ''}")
    return 1 if failed else 0


class Report:
    """A file to which lines are added; they are printed too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def line(self, text: str) -> None:
        print(text, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def read_photos(folder: Path) -> Iterator[tuple[str, Pixels]]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in Image.registered_extensions():
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            yield path.name, pixels[:3, :5] if TRIAL else pixels


def run_tests(report: Report, photos: Path) -> int:
    """The tests marked for a GPU; each one that ends is a line."""
    if TRIAL:
        report.line("Left out without a GPU.")
        return 0
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-v",
        "-m",
        "cuda",
        "tests/engines/test_cuda.py",
        "-k",
        "not compiles",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout
        for line in run.stdout:
            print(line, end="", flush=True)
            if any(word in line for word in ("PASSED", "FAILED", "ERROR", "SKIPPED", " passed", " failed")):
                report.line(f"- {line.strip()}")
    return run.returncode


def compare(report: Report, photos: Path) -> int:
    """GPU and CPU write the same files and read each other's, in colour and in grey, with and without adaptation."""
    differing = 0
    for name, colour in read_photos(photos):
        for pixels, effort, model in ((colour, 1, "default"), (colour[..., 1], 0, "default"), (colour, 0, "best")):
            expected = llicti_core.encode(pixels, effort=effort, model=model)
            written = llicti_core.encode(pixels, effort=effort, model=model, device="cuda")
            read = llicti_core.torch.decode(expected).cpu().numpy()
            right = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            results = {"encoded": written == expected, "decoded": bool(np.array_equal(read, right))}
            differing += not all(results.values())
            found = ", ".join(f"{what} {'alike' if same else '**differently**'}" for what, same in results.items())
            report.line(f"- {name}, {'grey' if pixels.ndim == 2 else 'colour'}, {model}, effort {effort}: {found}")
    report.line(f"\n{differing} differ")
    return 1 if differing else 0


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


def resized(photos: list[Pixels], number: int, size: tuple[int, int]) -> Pixels:
    """A photograph repeated, mirrored, to `size` rows and columns."""
    pixels = photos[number % len(photos)]
    grown = np.pad(
        pixels, [(0, max(0, n - m)) for n, m in zip(size, pixels.shape, strict=False)] + [(0, 0)], "symmetric"
    )
    return np.ascontiguousarray(np.roll(grown, number, axis=(0, 1))[: size[0], : size[1]])


class Sample(NamedTuple):
    """Images of one size: tensors, their number of pixels, their files."""

    tensors: list[torch.Tensor]
    pixels: int
    files: list[bytes]


def sample(photos: Path, count: int, size: tuple[int, int], model: str = "default") -> Sample:
    found = [pixels for _, pixels in read_photos(photos)]
    images = [resized(found, number, size) for number in range(count)]
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]
    files = llicti_core.torch.encode_batch(tensors, effort=0, model=model)
    return Sample(tensors, count * size[0] * size[1], files)


def measure_batch(report: Report, photos: Path) -> int:
    return measure(report, photos, BATCH, BATCH_SIZE)


def measure_large(report: Report, photos: Path) -> int:
    return measure(report, photos, 1, LARGE_SIZE)


def measure(report: Report, photos: Path, count: int, size: tuple[int, int]) -> int:
    report.line(
        f"{count} x {size[1]} x {size[0]} pixels:\n\n| what | median | best | Mpixel/s (median) |\n|---|---|---|---|"
    )
    for model in MODELS:
        images = sample(photos, count, size, model)
        time_line(report, f"decode, {model}", images.pixels, decoding(images))
        time_line(report, f"encode, {model}, effort 0", images.pixels, encoding(images, model, 0))
    time_line(report, "encode, default, effort 1", images.pixels, encoding(images, "default", 1))
    return 0


def decoding(images: Sample) -> Callable[[], object]:
    return lambda: llicti_core.torch.decode_batch(images.files)


def encoding(images: Sample, model: str, effort: int) -> Callable[[], object]:
    return lambda: llicti_core.torch.encode_batch(images.tensors, model=model, effort=effort)


def time_line(report: Report, label: str, pixels: int, work: Callable[[], object]) -> None:
    times = seconds(work)
    middle = statistics.median(times)
    report.line(f"| {label} | {middle * 1e3:.1f} ms | {min(times) * 1e3:.1f} ms | {pixels / middle / 1e6:.1f} |")


def measure_ceilings(report: Report, photos: Path) -> int:
    """What the GPU itself can do: multiply-accumulates of bytes and bytes of memory a second."""
    device = CudaEngine().device
    side, size = (64, 1 << 10) if TRIAL else (8192, 1 << 30)
    a = torch.ones((side, side), dtype=torch.int8, device=device)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    products = side**3 / min(seconds(lambda: torch._int_mm(a, a.t())))
    copied = 2 * size / min(seconds(lambda: target.copy_(source)))
    report.line("| ceiling | measured |\n|---|---|")
    report.line(f"| 8-bit multiply-accumulates (torch._int_mm, {side} cubed) | {products / 1e12:.2f} T/s |")
    report.line(f"| memory, read and written (copy of {size >> 20} MiB) | {copied / 1e9:.0f} GB/s |\n")
    packed = weights.pack(models.load(), [b""], 3, device)
    pixel = sum(
        (sum(band.inputs) + (band.depth - 1) * band.width + 16 * (3 if network == 0 else 7)) * band.width / 4
        for network, bands in enumerate(packed.networks)
        for band in bands
    )
    # A level has a quarter of the pixels of the one before it.
    report.line(f"`default` takes {pixel * 4 / 3:.0f} multiply-accumulates a pixel, padding included.")
    return 0


def profile(report: Report, photos: Path) -> int:
    """A table of the kernels of one call each way."""
    images = sample(photos, max(1, BATCH // 4), BATCH_SIZE)
    for label, work in (
        ("decode", decoding(images)),
        ("encode, effort 0", encoding(images, "default", 0)),
    ):
        work()
        activity = torch.profiler.ProfilerActivity
        with torch.profiler.profile(activities=[activity.CPU if TRIAL else activity.CUDA]) as profiler:
            work()
            synchronise()
        report.line(f"\nKernels, {label}, {images.pixels / 1e6:.0f} Mpixel:\n\n| kernel | calls | ms | ns a pixel |")
        report.line("|---|---|---|---|")
        averages = sorted(profiler.key_averages(), key=lambda event: -event.self_device_time_total)
        for event in averages[: 3 if TRIAL else 16]:
            taken = event.self_device_time_total / 1e6
            report.line(f"| {event.key[:60]} | {event.count} | {taken * 1e3:.2f} | {taken / images.pixels * 1e9:.3f} |")
    return 0


STEPS: dict[str, Callable[[Report, Path], int]] = {
    "tests": run_tests,
    "exactness": compare,
    "batch": measure_batch,
    "large": measure_large,
    "kernels": profile,
    "ceilings": measure_ceilings,
}


if __name__ == "__main__":
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        sys.exit(main())
    except DeviceError as error:
        sys.exit(f"benchmarks/cuda.py: {error}")
