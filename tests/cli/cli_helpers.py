"""Reading what the command line says, and running it as a program."""

import os
import re
import subprocess
import sys

WINDOWS = sys.platform == "win32"


def rows(output: str) -> dict[str, str]:
    """The final table as a dictionary."""
    return dict(re.findall(r"│ (\S.*?) +│ +(\S+) │", output))


def error(result, code: int) -> str:
    """The one line of an error, after its prefix."""
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("xpnet: error: ")
    return line.removeprefix("xpnet: error: ")


def write_csv(path, X, y, header):
    lines = [",".join(map(str, [*row, label])) for row, label in zip(X.tolist(), y, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n")


def without_codes(text: str) -> str:
    """Text without control codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).strip()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "xpnet", *words]


def utf8(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONUTF8": "1"} | more


def program(*words: str, **options) -> subprocess.CompletedProcess:
    """The command line as a program of its own, to its end."""
    return subprocess.run(command(*words), capture_output=True, encoding="utf-8",
                          env=utf8(**options.pop("env", {})), **options)  # fmt: skip
