"""Answers Ctrl-C in one line while the modules of the command ``xpnet`` are being imported."""

import os
import signal
import sys


def _end(number: int, frame: object) -> None:
    sys.stderr.write("xpnet: error: interrupted\n")
    sys.stderr.flush()
    os._exit(128 + number)  # nothing has begun that would have to be ended


def begun() -> None:
    """Give Ctrl-C back to Python: the command now answers it."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# What was started: a script, or the module after -m, which stands in place of sys.argv[0].
_started = [os.path.basename(word) for word in sys.orig_argv[-len(sys.argv) :][:1]]
_unanswered = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _unanswered and [name.partition(".")[0] for name in _started] == ["xpnet"]:
    signal.signal(signal.SIGINT, _end)
