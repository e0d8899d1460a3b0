"""Where shards are converted: what an engine is, and the one that has processes of this machine do it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Protocol

from llicti_plugin.collection.shard import run_shard


class Engine(Protocol):
    """Has `run_shard` called for shards, wherever it likes."""

    def run(self, folder: str, numbers: Iterable[int], tick: Callable[[], None]) -> list[int]:
        """Convert the shards with these numbers of the manifest in `folder`.

        tick: is called some times a second, and once when all is done. Where a process dies, its shard is begun again
        elsewhere. Returns the numbers of shards that were given up, since every process has died that worked on them.
        Raises what `run_shard` raises, and KeyboardInterrupt, when nothing works on any shard any more.
        """
        ...


_TICK = 0.2
"""Seconds."""

_PATIENCE = 10
"""Seconds that a process has to stop, before it is killed."""

_MOST_DEATHS = 10
"""Processes that may die on one shard."""


class LocalProcesses:
    """Processes of this machine, each of which works on a shard at a time, on one thread."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, folder: str, numbers: Iterable[int], tick: Callable[[], None]) -> list[int]:
        """See Engine.run."""
        waiting = deque(numbers)
        deaths: Counter[int] = Counter()
        given_up: list[int] = []
        # A pool of one process each: where a process dies, no other is stopped with it.
        workers = [_Worker() for _ in range(min(self._workers, len(waiting)))]
        idle = [*workers]
        working: dict[Future[None], tuple[_Worker, int]] = {}
        try:
            while waiting or working:
                while idle and waiting:
                    worker, number = idle.pop(), waiting.popleft()
                    working[worker.submit(folder, number)] = worker, number
                done, _ = wait(working, timeout=_TICK, return_when=FIRST_COMPLETED)
                for future in done:
                    worker, number = working.pop(future)
                    idle.append(worker)
                    try:
                        future.result()
                    except BrokenProcessPool:
                        worker.renew()
                        deaths[number] += 1
                        if deaths[number] < _MOST_DEATHS:
                            waiting.appendleft(number)
                        else:
                            given_up.append(number)
                tick()
        finally:
            for worker in workers:
                worker.ask_to_stop()
            wait(working, timeout=_PATIENCE)
            for worker in workers:
                worker.stop()
        return given_up


class _Worker:
    """A process that converts one shard after the other."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start a process, or one in place of one that has died."""
        # Not forked: a copy of a process that has threads may hold locks that nobody will open.
        context = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(1, context, initializer=_start)
        with _without_interrupts():
            self._pid = self._executor.submit(os.getpid)

    def submit(self, folder: str, number: int) -> Future[None]:
        """Have it convert a shard."""
        try:
            return self._executor.submit(_work, folder, number)
        except BrokenProcessPool:  # it has died while it had nothing to do
            self.renew()
            return self._executor.submit(_work, folder, number)

    def ask_to_stop(self) -> None:
        """Have it stop soon, leaving nothing half done."""
        for process in self._running():
            process.terminate()

    def stop(self) -> None:
        """Return when it has ended."""
        for process in self._running():
            process.kill()
        self._executor.shutdown(cancel_futures=True)

    def _running(self) -> list[BaseProcess]:
        """The process, unless it has not begun or has ended: then its number may be that of a stranger's."""
        try:
            pid = self._pid.result(timeout=_PATIENCE)
        except Exception:  # of one that could not be started, or died at once
            return []
        return [process for process in multiprocessing.active_children() if process.pid == pid]


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile know nothing of Ctrl-C: this process tells them when to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# In a worker's process.

_is_working = False


def _start() -> None:
    """Make a process a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _stop(number: int, frame: object) -> None:
    if not _is_working:
        os._exit(0)
    raise KeyboardInterrupt


def _work(folder: str, number: int) -> None:
    global _is_working
    _is_working = True
    try:
        run_shard(folder, number)
    finally:
        _is_working = False
