"""The format in many threads and processes, and what it leaves behind: descriptors, memory, warnings.

Each case is a process of its own, where nothing has been imported yet and a hang cannot take the suite with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from_linux = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="asks Linux of its own process")
with_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

HELPERS = """
import io, multiprocessing, os, pickle, sys, threading
import numpy as np
from PIL import Image

def image(seed, mode="RGB", width=150, height=110):
    noise = np.random.default_rng(seed).integers(0, 30, (height, width, 3))
    levels = noise + np.add.outer(np.arange(height), np.arange(width))[..., np.newaxis] % 200
    return Image.fromarray(levels.astype(np.uint8)).convert(mode)

def same(a, b):
    return (a.mode, a.size, a.tobytes()) == (b.mode, b.size, b.tobytes())

def decoded(path, seed):
    with Image.open(path) as reopened:
        return same(reopened, image(seed))

def descriptors():
    return sorted(os.listdir("/proc/self/fd"))

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
"""

Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a program in an empty folder, every warning an error; fails where it complains or does not end."""

    def run(program: str, *flags: str) -> None:
        (tmp_path / "program.py").write_text(f"{HELPERS}\n{program}")
        command = [sys.executable, "-W", "error", *flags, "program.py"]
        process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert not process.returncode, process.stderr
        assert not process.stderr, process.stderr

    return run


def main(body: str) -> str:
    """Statements that only the first process runs, and not those that it starts."""
    return "\nif __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())


# Threads


def test_threads(run: Run) -> None:
    """Sixteen threads meet the format at once, none of which has loaded it, and go on."""
    run(
        """
import imageio.v3 as iio
barrier, failures = threading.Barrier(16), []

def work(number):
    try:
        original = image(number, "L" if number % 3 == 0 else "RGB")
        barrier.wait(60)
        for turn in range(3):
            path = f"{number}.llc"
            if number % 2:
                original.save(path, effort=turn % 2)
            else:
                iio.imwrite(path, np.asarray(original), effort=turn % 2)
            with Image.open(path) as reopened:
                assert same(reopened, original)
            assert np.array_equal(iio.imread(path, threads=1 + turn), original)
    except BaseException as error:
        failures.append(repr(error))

threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not failures, failures
"""
    )


def test_threads_share_one_file(run: Run) -> None:
    run(
        """
from concurrent.futures import ThreadPoolExecutor
image(1).save("a.llc")
with ThreadPoolExecutor(16) as pool:
    assert all(pool.map(decoded, ["a.llc"] * 48, [1] * 48))
"""
    )


# Processes


@with_fork
def test_fork(run: Run) -> None:
    """Children of a process whose engine has worked with several threads work as well."""
    run(
        main(
            """
image(1).save("a.llc", threads=4)
assert decoded("a.llc", 1)
with multiprocessing.get_context("fork").Pool(4) as pool:
    assert pool.starmap_async(decoded, [("a.llc", 1)] * 12).get(60) == [True] * 12
    pool.starmap_async(Image.Image.save, [(image(n), f"{n}.llc") for n in range(8)]).get(60)
assert all(decoded(f"{n}.llc", n) for n in range(8))
"""
        )
    )


@with_fork
def test_fork_while_other_threads_work(run: Run) -> None:
    run(
        main(
            """
import llicti_core
image(1).save("a.llc")
pixels, stop = np.asarray(image(2, "RGB", 300, 300)), threading.Event()

def work():
    while not stop.is_set():
        llicti_core.encode(pixels, threads=4)

threads = [threading.Thread(target=work) for _ in range(2)]
[thread.start() for thread in threads]
for _ in range(6):
    child = os.fork()
    if not child:
        os._exit(0 if decoded("a.llc", 1) else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
[thread.join() for thread in threads]
"""
        ),
        # Python warns of forks beside threads, which may hold a lock of the allocator or of a library.
        "-W",
        "ignore::DeprecationWarning",
    )


def test_spawn(run: Run) -> None:
    run(
        main(
            """
image(1).save("a.llc")
with multiprocessing.get_context("spawn").Pool(2) as pool:
    assert pool.starmap_async(decoded, [("a.llc", 1)] * 4).get(60) == [True] * 4
"""
        )
    )


def test_pickled_images(run: Run) -> None:
    """Images opened in one process are used in another, whether their pixels have been read or not."""
    run(
        """
def opened(path):
    return Image.open(path)

def half(im):
    return im.resize((im.width // 2, im.height // 2))
"""
        + main(
            """
image(1).save("a.llc")
with multiprocessing.get_context("spawn").Pool(1) as pool:
    assert same(pool.apply_async(opened, ("a.llc",)).get(60), image(1))
    assert same(pool.apply_async(half, (opened("a.llc"),)).get(60), half(image(1)))
for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    copy = pickle.loads(pickle.dumps(opened("a.llc"), protocol))
    assert same(copy, image(1)) and copy.info["model"]
"""
        )
    )


# What is left behind


def test_closing_early(run: Run) -> None:
    run(
        """
import imageio.v3 as iio
image(1).save("a.llc")

def closes(work):
    path = "b.llc"
    image(2).save(path)
    opened = Image.open(path)
    fp = opened.fp
    work(opened)
    assert fp.closed
    os.remove(path)

def fails(work, error):
    try:
        work()
    except error:
        return
    raise AssertionError(work)

closes(lambda opened: opened.close())
closes(lambda opened: opened.__exit__(None, None, None))
closes(lambda opened: opened.load())
closes(lambda opened: opened.verify())
closes(lambda opened: (opened.load(), opened.close()))
closes(lambda opened: (opened.close(), opened.close()))
closed = Image.open("a.llc")
closed.close()
fails(closed.load, (ValueError, AttributeError))
kept = Image.open("a.llc")
kept.load()
kept.close()
with Image.open("a.llc") as late:
    os.remove("a.llc")
    assert same(late, image(1))

image(1).save("a.llc")
with iio.imopen("a.llc", "r"):
    pass
for frame in iio.imiter("a.llc"):
    break
reader = iio.imopen("a.llc", "r")
reader.properties()
reader.close()
reader.close()
"""
    )


@from_linux
def test_no_descriptor_is_left(run: Run) -> None:
    run(
        """
import imageio.v3 as iio
image(1, "RGB", 9, 7).save("a.llc")
with open("a.llc", "rb") as file:
    data = file.read()
damaged = {"header.llc": data[:30], "body.llc": data[:-9]}
for name, content in damaged.items():
    with open(name, "wb") as file:
        file.write(content)

def refused(work, *arguments, **options):
    try:
        work(*arguments, **options)
    except (OSError, ValueError):
        return
    raise AssertionError((work, arguments))

def everything():
    with Image.open("a.llc") as opened:
        pass
    with Image.open("a.llc") as opened:
        opened.load()
    Image.open("a.llc").load()
    Image.open("a.llc").verify()
    iio.improps("a.llc"), iio.immeta("a.llc")
    iio.imwrite("b.llc", iio.imread("a.llc"), effort=0)
    for name in damaged:
        refused(iio.imread, name)
        with open(name, "rb") as file:
            refused(lambda: Image.open(file).load())
        refused(lambda: Image.open(name).verify())
    refused(image(1).save, "c.llc", model="none")
    refused(iio.imwrite, "c.llc", np.zeros((0, 3), np.uint8))

everything()
before = descriptors()
for _ in range(50):
    everything()
assert descriptors() == before, (before, descriptors())
assert not os.path.exists("c.llc")
"""
    )


@pytest.mark.slow
@from_linux
def test_memory_stays_the_same(run: Run) -> None:
    """Two thousand times saved and opened; a leak of a single copy of the pixels would show."""
    run(
        """
im = image(1, "RGB", 24, 20)

def cycle(number):
    im.save("a.llc", effort=number % 20 == 0)
    with Image.open("a.llc") as reopened:
        assert same(reopened, im)

for number in range(200):
    cycle(number)
before = resident()
for number in range(1800):
    cycle(number)
assert resident() - before < 2_000_000, (before, resident())
"""
    )
