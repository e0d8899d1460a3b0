"""How many threads are used, that Ctrl-C ends them all, and that calls of many threads do not disturb each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from images import noise, smooth

import llicti_core
from llicti_core import DecodeOptions, models, threads
from llicti_core.engines.base import NOT_ADAPTED, TiledImage, TileRect
from llicti_core.engines.native import NativeEngine

MANY = 2**16


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("LLICTI_THREADS", raising=False)
    yield
    llicti_core.set_threads(None)


def test_a_call_s_own_number_comes_first_then_what_was_set_then_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLICTI_THREADS", "7")
    assert threads.thread_count() == 7
    llicti_core.set_threads(5)
    assert threads.thread_count() == 5
    assert threads.thread_count(3) == 3
    llicti_core.set_threads(None)
    assert threads.thread_count() == 7


@pytest.mark.parametrize("wanted", ["0", "-2", "two", "1.5"])
def test_impossible_numbers_in_the_environment_are_refused(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLICTI_THREADS", wanted)
    with pytest.raises(ValueError, match=f"LLICTI_THREADS must be .* not '{wanted}'"):
        threads.thread_count()


def test_impossible_numbers_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="threads must be 1 or more, not 0"):
        llicti_core.set_threads(0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not let a process choose")
def test_affinity_is_honoured() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from llicti_core import threads; "
    run = [sys.executable, "-c", code + "print(threads.thread_count())"]
    assert subprocess.run(run, cwd="/", capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("groups", "files", "granted"),
    [
        ("0::/box/inner\n", {"box/cpu.max": "250000 100000\n", "box/inner/cpu.max": "max 100000\n"}, 3),
        ("0::/box\n", {"cpu.max": "150000 100000\n", "box/cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {}, MANY),
        (
            "4:cpu,cpuacct:/docker/1\n0::/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "400000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            4,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, MANY),
        ("2:memory:/\n", {"cpu.max": "100000 100000\n"}, MANY),
    ],
)
def test_control_groups_are_honoured(groups: str, files: dict[str, str], granted: int, tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert threads._granted(str(tmp_path)) == granted


def test_systems_without_control_groups_have_no_limit(tmp_path: Path) -> None:
    assert threads._granted(str(tmp_path)) == MANY


def _slow() -> np.ndarray:
    return noise(1200, 1200)


def _decoding() -> Callable[[], object]:
    data = llicti_core.encode(_slow(), effort=0, threads=2)
    return lambda: llicti_core.decode(data, threads=2)


def _encoding(effort: int) -> Callable[[], object]:
    pixels = _slow()
    return lambda: llicti_core.encode(pixels, effort=effort, threads=2)


def _system_threads() -> int:
    """Threads of this process, where the system tells."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 0


def _interrupt_late(code: Callable[[], object], after: float) -> float:
    """Seconds that `code` goes on after an interrupt that comes `after` its start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have programs in the background ignore it
    start = time.monotonic()
    threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        code()
        ended = time.monotonic()
        time.sleep(5)
    except KeyboardInterrupt:
        ended = time.monotonic()
    return ended - start - after


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals of a process's own")
@pytest.mark.parametrize("work", [_decoding, lambda: _encoding(0), lambda: _encoding(3)], ids=["decode", "0", "3"])
def test_interrupts_end_the_work_soon(
    work: Callable[[], Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLICTI_ISA", "generic")  # slow enough everywhere
    code, before = work(), _system_threads()
    # One of a few times, since other programs may have the processors.
    assert any(0 <= _interrupt_late(code, after=0.1) < 0.3 for _ in range(5))
    assert _system_threads() <= before + 1  # the timer's, perhaps


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that send signals")
def test_signals_that_raise_nothing_end_nothing() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        pixels = noise(300, 300)
        assert (llicti_core.decode(llicti_core.encode(pixels, threads=2), threads=2) == pixels).all()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that send signals")
def test_what_a_signal_handler_raises_comes_before_damage_found_earlier() -> None:
    class Stopped(Exception):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stopped

    pixels = _slow()
    tiles = [TileRect(0, 0, 1136, 1200), TileRect(1136, 0, 64, 1200)]
    image = TiledImage(memoryview(pixels), tiles, models.load(), NOT_ADAPTED)
    sound, damaged = NativeEngine().encode(image, 2)  # one decodes for long, the other one fails at once
    damaged = damaged._replace(segments=[[b""] * len(streams) for streams in damaged.segments])
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(Stopped):
            NativeEngine("generic").decode(image, [sound, damaged], 2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Calls of several threads


def _at_once(work: Callable[[int], object], count: int = 16) -> None:
    """Calls work(0) ... work(count - 1), each on a thread of its own, switched as often as the interpreter can."""
    barrier = threading.Barrier(count)

    def wait_and_work(number: int) -> object:
        barrier.wait(60)
        return work(number)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(wait_and_work, range(count)))  # raises what one of them has raised
    finally:
        sys.setswitchinterval(before)


def test_sixteen_threads_code_different_images() -> None:
    """Of different kinds, shapes, models and efforts."""

    def work(number: int) -> None:
        pixels = (smooth, noise)[number % 2](40 + number, 90 - number, 1 if number % 3 == 0 else 3, seed=number)
        model, effort = ("best" if number % 4 == 0 else "default"), number % 2
        data = llicti_core.encode(pixels, model=model, effort=effort, threads=1 + number % 3)
        np.testing.assert_array_equal(llicti_core.decode(data, threads=1 + number % 2), pixels)
        np.testing.assert_array_equal(llicti_core.decode(data, scale=4), pixels[::4, ::4])

    _at_once(work)


@pytest.mark.parametrize("kept", ["in memory", "on disk"])
def test_sixteen_threads_share_an_open_file(kept: str, tmp_path: Path) -> None:
    """Each looks at the frames in an order of its own, of a file that nobody has looked at before."""
    stack = [smooth(30, 40, seed=number) for number in range(7)]
    comments = [b"image %d" % number for number in range(7)]
    data = llicti_core.join(
        llicti_core.encode(pixels, effort=0, metadata=llicti_core.Metadata(comment=comment))
        for pixels, comment in zip(stack, comments, strict=True)
    )
    (tmp_path / "a.llc").write_bytes(data)
    for _ in range(5):
        with llicti_core.open(data if kept == "in memory" else tmp_path / "a.llc") as file:

            def work(number: int, file: llicti_core.LlcFile = file) -> None:
                for turn in range(14):
                    index = number * (turn + 1) * 3 % 7
                    assert file[index].metadata.comment == comments[index]
                    np.testing.assert_array_equal(file[index].decode(options=DecodeOptions(threads=1)), stack[index])

            _at_once(work)


@pytest.mark.skipif(
    getattr(sys, "_is_gil_enabled", lambda: True)(), reason="this interpreter runs with the global interpreter lock"
)
def test_the_lock_stays_off() -> None:
    """Where the interpreter has started without it, no import of ours switches it on."""
    code = (
        "import sys, llicti_core, llicti_plugin, llicti_core.engines.native; "
        "sys.exit(sys._is_gil_enabled() and 'the lock is on')"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd="/", check=True, timeout=600)
