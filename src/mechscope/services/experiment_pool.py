"""A batch of jobs over several processes, of which this one is the first.

A worker takes seconds to start (it imports torch and opens the subject), while this process has all of it: so it works
as well, from the end of the batch, on what no worker has taken yet. Workers end when the process that started them is
gone. A pool that lost a worker (killed, out of memory) is made anew for the jobs that are not done yet, a few times;
from then on this process keeps out, since one of these jobs may be what kills.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from queue import SimpleQueue
from typing import TypeAlias

import torch

from mechscope.services.experiment_jobs import Job, OpenSubjects, Outcome, close_subjects, do_job

__all__ = ["run_jobs"]

POOLS_MOST = 3
JOBS_AHEAD = 2  # handed to a worker at a time, so that it never waits for the next
WATCH_SECONDS = 1.0

Untaken: TypeAlias = deque[tuple[int, Job]]
Ended: TypeAlias = SimpleQueue[tuple[int, Outcome] | None]  # None: one of those who feed has no more to do

_OPENED: OpenSubjects = {}  # subjects that this worker process has opened


def run_jobs(jobs: Sequence[Job], n_processes: int) -> Iterator[tuple[int, Outcome]]:
    """Run jobs, in this process or over several, and give (index, outcome) as they end. Raises nothing of theirs.

    Args:
        n_processes: this one and its workers. They share the threads that torch has here.
    """
    opened: OpenSubjects = {}
    n_processes = min(n_processes, len(jobs))
    try:
        if n_processes > 1:
            with _share_of_threads(n_processes) as n_threads:
                yield from _over_pools(dict(enumerate(jobs)), n_processes, n_threads, opened)
        else:
            yield from ((index, do_job(job, opened)) for index, job in enumerate(jobs))
    finally:
        close_subjects(opened)


def _over_pools(
    waiting: dict[int, Job], n_processes: int, n_threads: int, opened: OpenSubjects
) -> Iterator[tuple[int, Outcome]]:
    for attempt in range(POOLS_MOST):
        n_workers, own = (n_processes - 1, opened) if attempt == 0 else (n_processes, None)
        for index, outcome in _over_a_pool(waiting, n_workers, n_threads, own):
            del waiting[index]
            yield index, outcome
        if not waiting:
            return
    for index in waiting:
        yield index, Outcome(None, f"not run: a worker process was killed {POOLS_MOST} times while this one was "
                             "running or waiting (out of memory?); run it again, with fewer --processes")  # fmt: skip


def _over_a_pool(
    jobs: Mapping[int, Job], n_workers: int, n_threads: int, opened: OpenSubjects | None
) -> Iterator[tuple[int, Outcome]]:
    """What one pool gets done, and this process if `opened` is given; nothing for what a killed worker took along."""
    untaken: Untaken = deque(jobs.items())
    ended: Ended = SimpleQueue()
    n_feeders = JOBS_AHEAD * n_workers
    with ProcessPoolExecutor(n_workers, get_context("spawn"), _begin_worker, (os.getpid(), n_threads)) as pool:
        try:
            for _ in range(n_feeders):
                threading.Thread(target=_feed, args=(pool, untaken, ended)).start()
            while n_feeders:
                own = None if opened is None else _next_of(untaken.pop)
                if own is not None and opened is not None:
                    yield own[0], do_job(own[1], opened)
                for found in _ended_by_now(ended, should_wait=own is None):
                    if found is None:
                        n_feeders -= 1
                    else:
                        yield found
        finally:
            untaken.clear()  # after an interrupt, nothing new is begun


def _feed(pool: ProcessPoolExecutor, untaken: Untaken, ended: Ended) -> None:
    """Hand the pool one job after the other, from the front, until none is left or a worker was killed."""
    while (taken := _next_of(untaken.popleft)) is not None:
        index, job = taken
        try:
            future = pool.submit(_do_in_worker, job)
            error = future.exception()
        except (BrokenProcessPool, OSError) as failed:  # killed before, or no process can be started
            error = failed
        if isinstance(error, BrokenProcessPool):
            untaken.clear()  # what is not done is for the next pool
            break
        told = f"the experiment could not be run: {error}"
        ended.put((index, future.result() if error is None else Outcome(None, told)))
    ended.put(None)


def _ended_by_now(ended: Ended, *, should_wait: bool) -> Iterator[tuple[int, Outcome] | None]:
    if should_wait:
        yield ended.get()
    while not ended.empty():
        yield ended.get()


def _next_of(take: Callable[[], tuple[int, Job]]) -> tuple[int, Job] | None:
    try:
        return take()
    except IndexError:
        return None


@contextmanager
def _share_of_threads(n_processes: int) -> Iterator[int]:
    """Let torch compute here with its share of threads, so that processes do not fight for cores; give their number."""
    before = torch.get_num_threads()
    share = max(1, before // n_processes)
    torch.set_num_threads(share)
    try:
        yield share
    finally:
        torch.set_num_threads(before)


def _do_in_worker(job: Job) -> Outcome:
    return do_job(job, _OPENED)


def _begin_worker(parent: int, n_threads: int) -> None:
    """Let this worker end when the process that started it is gone, as nobody would read what it does; and end fast."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    torch.set_num_threads(n_threads)
    atexit.register(os._exit, 0)  # all is written: the batch would wait for torch to be taken apart
