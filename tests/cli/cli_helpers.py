"""Reading what the command line says, and running it as a program."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from xpnet.files.model import load_model

WINDOWS = sys.platform == "win32"
HARD = "--hidden 6,5 --dropout 0.1,0.2 --l1 1e-5 --clip-norm 1 --schedule warmup:1+cosine"


def rows(output: str) -> dict[str, str]:
    """The final table as a dictionary, without standard errors."""
    return dict(re.findall(r"│ (\S.*?) +│ +(\S+)(?: ±\S+)? +│", output))


def error(result, code: int) -> str:
    """The one line of an error, after its prefix."""
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("xpnet: error: ")
    return line.removeprefix("xpnet: error: ")


def write_csv(path, X, y, header):
    lines = [",".join(map(str, [*row, label])) for row, label in zip(X.tolist(), y, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n")


def same_model(a, b) -> bool:
    """Whether two model files hold the same parameters to the last bit."""
    a, b = load_model(a), load_model(b)
    layers = zip(a.parameters, b.parameters, strict=True)
    same = all(np.array_equal(x, y) for p, q in layers for x, y in zip(p, q, strict=True))
    return same and all(np.array_equal(a.tensors[n], b.tensors[n]) for n in a.tensors)


def assert_close(a, b, **tolerances) -> None:
    """The parameters of two model files agree."""
    layers = zip(load_model(a).parameters, load_model(b).parameters, strict=True)
    for found, expected in layers:
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, **tolerances)


def without_codes(text: str) -> str:
    """Text without control codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).strip()


def command(*words: str, start: tuple[str, ...] = ("-m", "xpnet")) -> list[str]:
    return [sys.executable, *start, *words]


def utf8(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONUTF8": "1"} | more


def program(*words: str, start=("-m", "xpnet"), **options) -> subprocess.CompletedProcess:
    """The command line as a program of its own, to its end."""
    env = utf8(**options.pop("env", {}))
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command(*words, start=start), encoding="utf-8", env=env, **options)


def started(*words: str, until: bytes = b"epoch") -> subprocess.Popen:
    """The command line as a program of its own that has just said a line, of its first epoch."""
    running = subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=utf8(PYTHONUNBUFFERED="1"))  # fmt: skip
    for line in running.stdout:
        if line.startswith(until):
            break
    return running


PEAK = (
    "import re, sys, xpnet.cli\n"
    "try: xpnet.cli.main(sys.argv[1:])\n"
    "except SystemExit as stop: code = stop.code\n"
    "status = open('/proc/self/status').read()\n"
    "print(int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]) // 1024)\n"
    "sys.exit(code)"
)


def peak_memory(words: str) -> int:
    """The most memory in MB that a command takes in a program of its own."""
    done = program(*words.split(), start=("-c", PEAK))
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def write_big(block: np.ndarray, times: int) -> tuple[int, int]:
    """The block so many times below itself in big.npy; its shape."""
    shape = (times * len(block), block.shape[1])
    with open("big.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": block.dtype.str, "fortran_order": False, "shape": shape}
        )
        for _ in range(times):
            file.write(block.tobytes())
    return shape
