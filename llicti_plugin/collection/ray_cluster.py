"""Has the cores of a Ray cluster convert shards: one that is running, or one that is started on this machine."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

import llicti_plugin
from llicti_plugin.collection.shard import run_shard

_TICK = 0.2
"""Seconds."""

_PATIENCE = 10
"""Seconds that workers have to stop, before they are killed."""

_MOST_DEATHS = 10
"""Processes that may die on one shard."""


class RayCluster:
    """Workers of Ray, each of which takes a core and works on a shard at a time, on one thread.

    The cluster is that of the process, of RAY_ADDRESS, or one that `ray start` has begun on this machine; without any,
    one of this machine's processes, which ends with the run. Every node needs this package, and has to see the
    collection under the same paths or URLs.
    """

    def __init__(self, workers: int | None) -> None:
        """workers: how many shards may be worked on at once; None for as many as the cluster has cores."""
        self._workers = workers

    def run(self, folder: str, numbers: Iterable[int], tick: Callable[[], None]) -> list[int]:
        """See workers.Engine.run. Raises OSError, too, where the cluster of RAY_ADDRESS is not there, or fails."""
        is_own = not ray.is_initialized()
        if is_own:
            # Ray has workers import from the current folder first, which may hold this package's sources. The folder in
            # which it is installed does no harm.
            with _in_folder(os.path.dirname(os.path.dirname(llicti_plugin.__file__))):
                _connect(self._workers)
        try:
            return self._run(folder, deque(numbers), tick)
        finally:
            if is_own:
                ray.shutdown()

    def _run(self, folder: str, waiting: deque[int], tick: Callable[[], None]) -> list[int]:
        # Where a worker or its node dies, Ray has another one do the same.
        convert = ray.remote(num_cpus=1, max_retries=_MOST_DEATHS - 1, retry_exceptions=False)(run_shard)
        working: dict[Any, int] = {}
        given_up: list[int] = []
        try:
            while waiting or working:
                while waiting and (self._workers is None or len(working) < self._workers):
                    number = waiting.popleft()
                    working[convert.remote(folder, number)] = number
                done, _ = ray.wait([*working], timeout=_TICK)
                for task in done:
                    number = working.pop(task)
                    try:
                        ray.get(task)
                    except RayTaskError as error:
                        raise error.cause from error
                    except (WorkerCrashedError, NodeDiedError, OutOfMemoryError):
                        given_up.append(number)
                    except RayError as error:
                        raise OSError(errno.EIO, f"Ray: {error}") from error
                tick()
        finally:
            _stop([*working])
        return given_up


@contextmanager
def _in_folder(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _connect(workers: int | None) -> None:
    options = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init("auto", **options)
    except ConnectionError:
        if "RAY_ADDRESS" in os.environ:
            raise
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # which Ray would send to its makers
        ray.init("local", num_cpus=workers, include_dashboard=False, **options)


def _stop(tasks: list[Any]) -> None:
    """Have tasks end soon, leaving nothing half done."""
    for force in (False, True):
        for task in tasks:
            with suppress(Exception):  # it has ended
                ray.cancel(task, force=force)
        if tasks:
            _, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=_PATIENCE)
