"""Runs each library in a process of its own: one that fails, crashes or hangs loses only itself."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

from xpnet.backends.libraries import LIBRARIES
from xpnet.backends.place import Backend, select
from xpnet.bench import machine
from xpnet.bench.measure import Bench
from xpnet.bench.products import squares
from xpnet.bench.results import Cell, Results, Series, Settings
from xpnet.exceptions import BackendUnavailable

SILENCE = 120.0  # seconds without an answer that count as a hang: GPUs may compile for long
_LOOK = 0.1  # seconds between looks at Ctrl-C, which cannot break a longer wait on Windows

Watch = Callable[[str], None]  # takes the label of the series whose turn it is
# The series of all devices of a library; or a device's square products (side, seconds) and cells.
Answer = list[Series] | tuple[int, float] | Cell
Answers = Callable[[str, str | None, Settings], Iterator[Answer]]


class Broken(Exception):
    """A worker ended before its end."""


# -- in the worker's process -------------------------------------------------------------
def serve(pipe: Connection, answers: Answers, *spec: Any) -> None:
    """Sends every answer, then None; an exception that ends them is the last answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    for stream in (1, 2):  # nobody reads what libraries print
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    try:
        for answer in answers(*spec):
            pipe.send(answer)
        pipe.send(None)
    except BackendUnavailable as error:
        pipe.send(error)
    except Exception as error:
        pipe.send(Broken(" ".join(f"{type(error).__name__}: {error}".split())[:300]))


def measured(name: str, device: str | None, settings: Settings) -> Iterator[Answer]:
    """The devices of a library; with ``device``, what is measured on it.

    Raises
    ------
    BackendUnavailable
        The library is not usable.
    """
    if settings.dtype == "float64":
        os.environ["JAX_ENABLE_X64"] = "1"
    if device is None:
        yield [_series(place) for place in places(select(name))]
        return
    place = select(name, device, settings.dtype)
    with place.context():
        yield from squares(place, 0.2 * settings.seconds)
        yield from map(Bench(place, settings).cell, settings.hidden)


def places(default: Backend) -> list[Backend]:
    """The library's default device, and the first of the other kind: accelerator or CPU."""
    found = {default.is_accelerator: default}
    for device in (*LIBRARIES[default.name].devices(default.xp), "cpu"):
        with suppress(BackendUnavailable, ValueError):
            place = select(default.name, device)
            found.setdefault(place.is_accelerator, place)
    return list(found.values())


def _series(place: Backend) -> Series:
    version = str(importlib.import_module(place.name).__version__)
    own = LIBRARIES[place.name].hardware
    hardware = own(place.device) if place.is_accelerator else machine.processor()
    return Series(place.name, place.device_name, version, hardware, place.is_accelerator)


# -- in the parent's ---------------------------------------------------------------------
def run(
    settings: Settings,
    names: Sequence[str],
    required: bool = False,
    watch: Watch = lambda label: None,
    silence: float = SILENCE,
    answers: Answers = measured,
) -> Results:
    """Measures all nets on all devices of the libraries ``names``.

    One that is not usable is a failure if ``required``. A worker runs ``answers``, and is ended
    when it says nothing for ``silence`` seconds. After Ctrl-C the results hold what was found.
    """
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    results = Results(settings, date, machine.about())

    def ask(name: str, device: str | None) -> Any:
        return closing(_ask(silence, answers, name, device, settings))

    try:
        for name in names:
            try:
                with ask(name, None) as found:
                    results.series += [series for answer in found for series in answer]
            except (Broken, BackendUnavailable) as error:
                results.absent[name] = str(error)
                if required or isinstance(error, Broken):
                    results.failures.append(f"{name}: {error}")
        for series in results.series:
            watch(series.label)
            with ask(series.backend, series.device) as found:
                _measure(results, series, found)
    except KeyboardInterrupt:
        results.interrupted = True
        for series in results.series:
            _leave_out_rest(settings, series, "interrupted")
    return results


def _measure(results: Results, series: Series, found: Iterator[Any]) -> None:
    """Fills a series with what a worker finds."""
    try:
        for answer in found:
            if isinstance(answer, Cell):
                series.cells.append(answer)
            else:
                series.squares[str(answer[0])] = answer[1]
    except (Broken, BackendUnavailable) as error:
        series.broken = str(error)
        results.failures.append(f"{series.label}: {error}")
        _leave_out_rest(results.settings, series, str(error))
    for cell in series.cells:
        if cell.failed:
            results.failures.append(f"{series.label}, {cell.hidden} units: {cell.left_out}")


def _leave_out_rest(settings: Settings, series: Series, reason: str) -> None:
    there = {cell.hidden for cell in series.cells}
    series.cells += [Cell(h, reason) for h in settings.hidden if h not in there]


def _ask(silence: float, answers: Answers, *spec: Any) -> Iterator[Any]:
    """The answers of a worker, as they come. It does not outlive the generator."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(theirs, answers, *spec), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            deadline = monotonic() + silence
            while not ours.poll(_LOOK):
                if monotonic() > deadline:
                    raise Broken(f"no answer for {silence:g} s")
            answer = ours.recv()
            if answer is None:
                return  # how the library leaves the process is of no interest
            if isinstance(answer, Exception):
                raise answer
            yield answer
    except EOFError:
        process.join()
        how = f"exit status {process.exitcode}"
        with suppress(ValueError):
            how = signal.Signals(-(process.exitcode or 0)).name
        raise Broken(f"crashed: {how}") from None
    finally:
        process.kill()
        process.join()
