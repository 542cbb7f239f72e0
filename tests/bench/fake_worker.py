"""Stands in for what a worker measures: the library's name says what goes wrong."""

import os
import signal
import time

from xpnet.bench.results import Cell, Series
from xpnet.exceptions import BackendUnavailable


def answers(name, device, settings):
    print("noise", flush=True)  # as libraries do; it must not reach the terminal
    if name == "absent":
        raise BackendUnavailable("not here")
    if name == "dies-early":
        os._exit(3)
    if device is None:
        yield [Series(name, "cpu", hardware="A CPU")]
        return
    yield 512, 0.001
    for i, hidden in enumerate(settings.hidden):
        if i == 1 and name == "crashes":
            os.kill(os.getpid(), signal.SIGKILL)
        if i == 1 and name == "fails":
            raise ValueError("no luck")
        if i == 1 and name == "hangs":
            time.sleep(60)
        if i == 1 and name == "ctrl-c":
            time.sleep(0.5)  # until the first answer was read
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(60)
        step = [hidden * (1e-6 if name == "numpy" else 2e-6)] * 3
        times = {"step": step, "floor": {"rows": step}, "predict": step}
        yield Cell(hidden, steps_per_epoch=4, predict_examples=5, **times)
