"""Every library in a process of its own: one that fails, crashes or hangs loses only itself."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import IO, Any

from xpnet.bench import machine
from xpnet.bench.results import Cell, Results, Series, Settings

WORKER = (sys.executable, "-P", "-m", "xpnet.bench.worker")
SILENCE = 120.0  # seconds without an answer that are taken for a hang: GPUs may compile for long
_LOOK = 0.1  # seconds between looks at Ctrl-C, which cannot break a longer wait on Windows

Watch = Callable[[str, int, int], None]  # (what is measured, nets done, nets in all)


class Broken(Exception):
    """A worker ended before its end."""


def run(
    settings: Settings,
    names: Sequence[str],
    required: bool = False,
    watch: Watch = lambda what, done, total: None,
    silence: float = SILENCE,
    worker: Sequence[str] = WORKER,
) -> Results:
    """Measures all nets on all devices of the libraries.

    Parameters
    ----------
    names : sequence of str
        Libraries, as in ``xpnet.backends()``.
    required : bool
        Whether one that is not usable is a failure.
    watch : callable
        Is told before each net.
    silence : float
        A worker that says nothing for so many seconds is ended.
    worker : sequence of str
        The command of a worker, without its specification.

    Returns
    -------
    Results
        After Ctrl-C as well, with what was found up to then.
    """
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    results = Results(settings, date, machine.about())

    def answers(spec: dict[str, Any]) -> Generator[dict[str, Any]]:
        return _answers([*worker, json.dumps(spec)], settings.dtype, silence)

    try:
        for name in names:
            watch(f"{name}: looking for devices", 0, 0)
            _find(results, name, required, answers)
        total = len(results.series) * len(settings.hidden)
        for number, series in enumerate(results.series):
            _measure(results, series, answers, watch, number * len(settings.hidden), total)
    except KeyboardInterrupt:
        results.interrupted = True
        for series in results.series:
            _leave_out_rest(settings, series, "interrupted")
    return results


def _find(results: Results, name: str, required: bool, answers: Callable[..., Any]) -> None:
    """Adds an empty series for each device of a library."""
    try:
        with closing(answers({"backend": name})) as found:
            for answer in found:
                results.series += [Series(**about) for about in answer.get("places", ())]
                if "absent" in answer:
                    results.absent[name] = answer["absent"]
                    results.failures += [f"{name}: {answer['absent']}"] if required else []
    except Broken as error:
        results.absent[name] = str(error)
        results.failures.append(f"{name}: {error}")


def _measure(
    results: Results,
    series: Series,
    answers: Callable[..., Any],
    watch: Watch,
    done: int,
    total: int,
) -> None:
    settings = results.settings
    spec = {"backend": series.backend, "device": series.device, "settings": asdict(settings)}
    watch(f"{series.label}: square products", done, total)
    try:
        with closing(answers(spec)) as found:
            for answer in found:
                if "side" in answer:
                    series.squares[str(answer["side"])] = answer["seconds"]
                if "cell" in answer:
                    series.cells.append(Cell(**answer["cell"]))
                n = len(series.cells)
                if n < len(settings.hidden):
                    watch(f"{series.label}: {settings.hidden[n]} units", done + n, total)
    except Broken as error:
        series.broken = str(error)
        results.failures.append(f"{series.label}: {error}")
        _leave_out_rest(settings, series, str(error))
    for cell in series.cells:
        if cell.failed:
            results.failures.append(f"{series.label}, {cell.hidden} units: {cell.left_out}")


def _leave_out_rest(settings: Settings, series: Series, reason: str) -> None:
    there = {cell.hidden for cell in series.cells}
    series.cells += [Cell(h, reason) for h in settings.hidden if h not in there]


# -- one worker --------------------------------------------------------------------------
def _answers(command: list[str], dtype: str, silence: float) -> Generator[dict[str, Any]]:
    """What a worker answers, as it comes.

    Raises
    ------
    Broken
        It crashed, or said nothing for ``silence`` seconds and was ended.
    """
    with tempfile.TemporaryFile() as errors, _process(command, dtype, errors) as process:
        lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        deadline = time.monotonic() + silence
        while True:
            try:
                line = lines.get(timeout=_LOOK)
            except queue.Empty:
                if time.monotonic() < deadline:
                    continue
                raise Broken(f"no answer for {silence:g} s") from None
            if line is None:
                break
            deadline = time.monotonic() + silence
            answer = json.loads(line)
            if "done" in answer:
                return  # how the library leaves the process is of no interest
            yield answer
        code = process.wait()
        if code:
            errors.seek(0)
            raise Broken(_reason(code, errors.read().decode(errors="replace")))


def _read(pipe: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with suppress(ValueError, OSError):  # closed under it
        for line in pipe:
            lines.put(line)
    lines.put(None)


@contextmanager
def _process(command: list[str], dtype: str, errors: IO[bytes]) -> Iterator[Any]:
    """A worker, which does not outlive the block. Ctrl-C of a terminal goes to its parent alone."""
    # It finds what this process finds, but never a file that lies in the current folder.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if dtype == "float64":
        environment["JAX_ENABLE_X64"] = "1"
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _reason(code: int, errors: str) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"crashed: {signal.Signals(-code).name}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"crashed: exit status {code}"
