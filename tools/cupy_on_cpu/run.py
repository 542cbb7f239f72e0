"""Run a command with CuPy on the CPU: ``python tools/cupy_on_cpu/run.py -- COMMAND...``"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run as a script
from cupy_on_cpu.environment import DEFAULT_OUT, variables


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a command with CuPy on the CPU.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="what build.py filled")
    parser.add_argument("--cache", type=Path, help="CuPy's kernels (default: OUT/kernels)")
    parser.add_argument("--print", action="store_true", help="print the variables, run nothing")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not (options.out / "lib").is_dir():
        parser.exit(2, f"{options.out} holds no shim: run build.py first\n")
    environment = variables(options.out, options.cache)
    if options.print:
        print("\n".join(f"export {name}='{value}'" for name, value in environment.items()))
    elif command:
        os.execvpe(command[0], command, {**os.environ, **environment})
    else:
        parser.error("a command is needed")


if __name__ == "__main__":
    main()
