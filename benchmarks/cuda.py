"""The CUDA engine on a GPU, in one call: exactness over a folder both ways, speeds, adaptation, kernels, tests.

    python benchmarks/cuda.py FOLDER_OF_PHOTOGRAPHS --minutes 14 --output cuda.md

Takes a checkout that is installed, with its extra `cuda` (and `deep`, where photographs of more than 8 bits are to be
read as they are), pytest, hypothesis and scikit-image; installs nothing. Each step is a process with a time limit of
its own, and adds rows to one table, as it finds them, in Markdown: what is there stays, whatever happens to a later
step. Kernels that a step compiles are kept in Triton's cache for the next ones; the tests come last, since they compile
the most. With TRITON_INTERPRET=1 it runs on tiny images without a GPU, to try itself out.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from PIL import Image

import llicti_core
import llicti_core.torch
from llicti_core import adaptation, models
from llicti_core.benchmark.photos import read_pixels
from llicti_core.engines import native
from llicti_core.engines.base import NOT_ADAPTED, TiledImage
from llicti_core.engines.cuda import CudaEngine, kernels, search, weights
from llicti_core.errors import DeviceError
from llicti_core.spec import DEEP_BITS
from llicti_core.view import TileGrid
from llicti_plugin.cli.batch import Failure

Pixels = NDArray[np.unsignedinteger]

ROOT = Path(__file__).resolve().parent.parent
TRIAL = triton.knobs.runtime.interpret
ROUNDS = 1 if TRIAL else 5
BATCH, BATCH_SIZE, LARGE_SIZE = (2, (3, 5), (5, 6)) if TRIAL else (64, (1250, 1600), (3000, 4000))
FITTED_SIZE = (32, 40) if TRIAL else BATCH_SIZE
"""Of images that a model is adapted to: smaller ones are left alone."""
MODELS = ("default",) if TRIAL else ("default", "best")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path, help="folder of photographs")
    parser.add_argument("--minutes", type=float, default=14, help="time for all steps (default: 14)")
    parser.add_argument("--output", type=Path, default=Path("cuda.md"), help="where results go (default: cuda.md)")
    parser.add_argument("--step", choices=STEPS, help="this one alone, in this process")
    parser.add_argument("--seconds", type=float, default=600, help="with --step: time that it has (default: 600)")
    chosen = parser.parse_args()
    if chosen.step:
        work = STEPS[chosen.step].work
        return work(Report(chosen.output, chosen.step), chosen.photos, time.monotonic() + chosen.seconds)
    device = CudaEngine().device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "Triton's interpreter"
    title = f"{name}, PyTorch {torch.__version__}, Triton {triton.__version__}"
    command = [sys.executable, __file__, str(chosen.photos), "--output", str(chosen.output), "--step"]
    commands = {step: ([*command, step], STEPS[step].share) for step in STEPS}
    return run_steps(title, commands, 60 * chosen.minutes, chosen.output)


class Report:
    """A table, to which a step adds rows; they are printed too."""

    def __init__(self, path: Path, step: str) -> None:
        self.path, self.step = path, step

    def row(self, what: str, result: str, remark: str = "") -> None:
        line = f"| {self.step} | {what} | {result} | {remark} |"
        print(line, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def run_steps(title: str, commands: Mapping[str, tuple[Sequence[str], float]], seconds: float, output: Path) -> int:
    """Run the command of each step, with `--seconds` added, which may take its share of the time at most. Writes the
    table's head, and of each step how long it took and how it ended. Returns 1 where one failed, else 0."""
    output.write_text(f"# {title}\n\n| step | what | result | remark |\n|---|---|---|---|\n", encoding="utf-8")
    end = time.monotonic() + seconds
    failed = []
    for step, (command, share) in commands.items():
        report = Report(output, step)
        limit = min(seconds * share, end - time.monotonic())
        if limit < seconds / 100:
            report.row("the step", "**not run**", "no time was left")
            failed.append(step)
            continue
        began = time.monotonic()
        # A group of its own, so that what a step has started ends with it.
        with subprocess.Popen([*command, "--seconds", f"{limit:.0f}"], start_new_session=True) as process:
            try:
                code = process.wait(limit)
                result = f"**failed**: exit status {code}" if code else "done"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                result = "**cut off**"
        report.row("the step", result, f"{time.monotonic() - began:.1f} s of {limit:.0f}")
        if result != "done":
            failed.append(step)
    Report(output, "all").row("the steps", f"**failed**: {', '.join(failed)}" if failed else "done")
    return 1 if failed else 0


def read_photos(folder: Path) -> Iterator[tuple[str, Pixels]]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in Image.registered_extensions():
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            yield path.name, pixels[:3, :5] if TRIAL else pixels


def read_deep(folder: Path) -> Iterator[tuple[str, Pixels]]:
    """The upper ten bits of those in colour that have more than eight; says which cannot be read so."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in Image.registered_extensions():
            continue
        try:
            pixels = read_pixels(path)
        except Failure as error:
            print(f"skipped {path.name}: {error}", file=sys.stderr)
            continue
        if pixels.dtype == np.uint16 and pixels.shape[2:] == (3,):
            pixels = pixels >> max(0, int(pixels.max()).bit_length() - DEEP_BITS)
            yield f"{path.name}, {DEEP_BITS} bits", pixels[:3, :5] if TRIAL else pixels


def start_up(report: Report, photos: Path, end: float) -> int:
    """One small image both ways: what the first compilation takes, and whether anything works at all."""
    _, pixels = next(read_photos(photos))
    pixels = np.ascontiguousarray(pixels[:128, :96])
    expected = llicti_core.encode(pixels, effort=0)
    failed = False
    for round_name in ("first", "second"):
        began = time.perf_counter()
        right = bool((llicti_core.decode(expected, device="cuda") == pixels).all())
        middle = time.perf_counter()
        same = llicti_core.encode(pixels, effort=0, device="cuda") == expected
        taken = time.perf_counter() - middle
        report.row(
            f"{round_name} decode of {pixels.shape[1]} x {pixels.shape[0]}", alike(right), f"{middle - began:.2f} s"
        )
        report.row(f"{round_name} encode", alike(same), f"{taken:.2f} s")
        failed |= not (right and same)
    return 1 if failed else 0


def alike(same: bool) -> str:
    return "alike" if same else "**different**"


def tiled(pixels: Pixels, model: str = "default", adapted: bytes = NOT_ADAPTED) -> TiledImage:
    tiles = list(TileGrid(pixels.shape[1], pixels.shape[0], 1024))
    return TiledImage(memoryview(pixels), tiles, models.load(model), adapted, DEEP_BITS if pixels.itemsize > 1 else 8)


def compare(report: Report, photos: Path, end: float) -> int:
    """GPU and CPU write the same files and read each other's, in colour and in grey, with and without an adaptation,
    of the CPU's search and of the GPU's; photographs of more than eight bits as such, too."""
    engine = CudaEngine()
    count = differing = 0
    for name, color in itertools.chain(read_photos(photos), read_deep(photos)):
        grey = np.ascontiguousarray(color[..., 1:2])
        color = np.ascontiguousarray(color)
        images = {"colour": tiled(color), "grey": tiled(grey)} | {model: tiled(color, model) for model in MODELS[1:]}
        images["adapted"] = tiled(color, "default", adaptation.fit(tiled(color), 1, os.cpu_count() or 1))
        images["adapted on the device"] = tiled(color, "default", *search.fit([tiled(color)], 1, "cuda"))
        wrong = []
        for kind, image in images.items():
            coded = native.NativeEngine().encode(image, os.cpu_count() or 1)
            decoded = np.zeros_like(np.asarray(image.pixels))
            engine.decode(image._replace(pixels=memoryview(decoded)), coded, 1)
            wrong += [f"{kind} encoded"] if engine.encode(image, 1) != coded else []
            wrong += [f"{kind} decoded"] if not np.array_equal(decoded, image.pixels) else []
        report.row(name, alike(not wrong), ", ".join(wrong or images))
        count, differing = count + 1, differing + bool(wrong)
    report.row(f"{count} photographs", f"{differing} differ" if differing else "all alike")
    return 1 if differing or not count else 0


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
    """Images of one size: arrays, tensors on the device, and how many pixels they have in all."""

    images: list[Pixels]
    tensors: list[torch.Tensor]
    pixels: int


def sample(photos: Path, count: int, size: tuple[int, int]) -> Sample:
    found = [pixels for _, pixels in read_photos(photos)]
    images = [resized(found, number, size) for number in range(count)]
    device = CudaEngine().device
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous().to(device) for image in images]
    return Sample(images, tensors, count * size[0] * size[1])


def measure_batch(report: Report, photos: Path, end: float) -> int:
    return measure(report, sample(photos, BATCH, BATCH_SIZE))


def measure_large(report: Report, photos: Path, end: float) -> int:
    return measure(report, sample(photos, 1, LARGE_SIZE))


def measure(report: Report, images: Sample) -> int:
    height, width, _ = images.images[0].shape
    label = f"{len(images.images)} of {width} x {height}"
    for model in MODELS:
        files = llicti_core.torch.encode_batch(images.tensors, effort=0, model=model)

        def decode(files: list[bytes] = files) -> object:
            return llicti_core.torch.decode_batch(files)

        def encode(model: str = model) -> object:
            return llicti_core.torch.encode_batch(images.tensors, model=model, effort=0)

        speed(report, f"decode {label}, `{model}`", images.pixels, decode)
        speed(report, f"encode {label}, `{model}`, effort 0", images.pixels, encode)
    return 0


def speed(report: Report, label: str, pixels: int, work: Callable[[], object]) -> None:
    times = seconds(work)
    middle = statistics.median(times)
    spread = f"median {middle * 1e3:.1f} ms, best {min(times) * 1e3:.1f} ms"
    report.row(label, f"{pixels / middle / 1e6:.1f} Mpixel/s", spread)


def measure_adaptation(report: Report, photos: Path, end: float) -> int:
    """How fast the model is adapted to a batch and to one image, and by how much the first image becomes smaller."""
    threads = os.cpu_count() or 1
    search.fit([tiled(pixels) for pixels in sample(photos, 1, FITTED_SIZE).images], 1, "cuda")  # loads libraries
    for count in (BATCH, 1):
        images = [tiled(pixels) for pixels in sample(photos, count, FITTED_SIZE).images]
        pixels = count * FITTED_SIZE[0] * FITTED_SIZE[1]
        before = coded_size(images[0])
        for effort in (1, 3):
            began = time.perf_counter()
            found = search.fit(images, effort, "cuda")
            taken = time.perf_counter() - began
            here = coded_size(images[0]._replace(adaptation=found[0]))
            there = coded_size(images[0]._replace(adaptation=adaptation.fit(images[0], effort, threads)))
            gain = f"-{100 * (1 - here / before):.2f} %, on the CPU -{100 * (1 - there / before):.2f} %"
            speeds = f"{count / taken:.2f} images/s, {pixels / taken / 1e6:.2f} Mpixel/s"
            report.row(f"{count} of {FITTED_SIZE[1]} x {FITTED_SIZE[0]}, effort {effort}", speeds, gain)
    return 0


def coded_size(image: TiledImage) -> int:
    """Bytes of an image, and of the change of its model."""
    coded = native.NativeEngine().encode(image, os.cpu_count() or 1)
    return len(image.adaptation) + sum(len(part) for tile in coded for kind in tile.segments for part in kind)


def measure_kernels(report: Report, photos: Path, end: float) -> int:
    """What the GPU itself can do, and each kernel's time for a batch each way, beside that."""
    device = CudaEngine().device
    side, size = (64, 1 << 10) if TRIAL else (8192, 1 << 30)
    a = torch.ones((side, side), dtype=torch.int8, device=device)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    products = side**3 / min(seconds(lambda: torch._int_mm(a, a.t())))
    copied = 2 * size / min(seconds(lambda: target.copy_(source)))
    report.row(f"ceiling: torch._int_mm, {side} cubed", f"{products / 1e12:.2f} T/s", "multiply-accumulates of bytes")
    report.row(f"ceiling: copy of {size >> 20} MiB", f"{copied / 1e9:.0f} GB/s", "read and written")
    images = sample(photos, max(1, BATCH // 4), BATCH_SIZE)
    files = llicti_core.torch.encode_batch(images.tensors, effort=0)
    activity = torch.profiler.ProfilerActivity
    for label, work in (
        ("decode", lambda: llicti_core.torch.decode_batch(files)),
        ("encode", lambda: llicti_core.torch.encode_batch(images.tensors, effort=0)),
    ):
        work()
        with torch.profiler.profile(activities=[activity.CPU if TRIAL else activity.CUDA]) as profiler:
            work()
            synchronise()
        averages = sorted(profiler.key_averages(), key=lambda event: -event.self_device_time_total)
        for event in averages[: 2 if TRIAL else 12]:
            taken = event.self_device_time_total / 1e6
            reached = ceiling_share(event.key, images.pixels, taken, products, copied)
            what = f"{label} {images.pixels / 1e6:.0f} Mpixel: {event.key[:40]}"
            report.row(what, f"{taken * 1e3:.2f} ms", f"{event.count} calls{reached}")
    return 0


def ceiling_share(kernel: str, pixels: int, taken: float, products: float, copied: float) -> str:
    """What share of a ceiling a kernel reaches, where that is known."""
    levels = 4 / 3  # each has a quarter of the pixels of the one before it
    moved = {"split_colours": 3 + 8, "merge_colours": 8 + 3, "skew": levels * 3 * (2 + 2)}
    if taken and kernel.startswith(("decode_pass", "encode_pass")):
        return f", {100 * levels * pixels * products_per_pixel() / taken / products:.1f} % of the products"
    for name, per_pixel in moved.items():
        if taken and kernel.startswith(name):
            return f", {100 * pixels * per_pixel / taken / copied:.1f} % of the copy"
    return ""


def products_per_pixel() -> float:
    """Multiply-accumulates of `default` for a pixel of the finest level, padding included."""
    networks = weights.pack(models.load(), [NOT_ADAPTED], 3, CudaEngine().device)
    total = 0.0
    for bands, kinds in zip(networks, (3, 7), strict=True):
        for band in bands:
            channels = sum(band.inputs) + (band.depth - 1) * band.width + kernels.COLUMNS.value * kinds
            total += channels * band.width / 4
    return total


def run_tests(report: Report, photos: Path, end: float) -> int:
    """The tests marked for a GPU; those that fail are rows, and how many did not. What only compiles is left out."""
    chosen = "kernels_have or nothing_is_searched" if TRIAL else "not compiles"
    files = ("tests/engines/test_cuda.py", "tests/engines/test_cuda_search.py")
    command = [sys.executable, "-P", "-m", "pytest", "-vv", "-m", "cuda", *files, "-k", chosen]
    counts = dict.fromkeys(("PASSED", "FAILED", "ERROR", "SKIPPED"), 0)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout
        stopper = threading.Timer(max(1, end - time.monotonic() - 5), run.kill)
        stopper.start()
        for line in run.stdout:
            print(line, end="", flush=True)
            for word in counts:
                if "::" in line and f" {word}" in line and not line.startswith(word):
                    counts[word] += 1
                    if word in ("FAILED", "ERROR"):
                        report.row(line.split()[0], f"**{word.lower()}**")
        stopper.cancel()
    report.row("pytest -m cuda", ", ".join(f"{count} {word.lower()}" for word, count in counts.items() if count))
    return run.returncode


class Step(NamedTuple):
    """work: what it does, for a report, photographs and the time when it is to end; returns 0 where all is well. share:
    of the whole time, what it may take at most; all of them take less together where nothing is wrong."""

    work: Callable[[Report, Path, float], int]
    share: float


STEPS = {
    "start-up": Step(start_up, 1 / 4),
    "exactness": Step(compare, 1 / 4),
    "batch": Step(measure_batch, 1 / 5),
    "large": Step(measure_large, 1 / 8),
    "adaptation": Step(measure_adaptation, 1 / 6),
    "kernels": Step(measure_kernels, 1 / 8),
    "tests": Step(run_tests, 1),
}


if __name__ == "__main__":
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        sys.exit(main())
    except DeviceError as error:
        sys.exit(f"benchmarks/cuda.py: {error}")
