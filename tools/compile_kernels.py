"""Compile every kernel that CuPy saved with NVRTC for real GPU architectures: no GPU, no driver.

    python tools/compile_kernels.py KERNELS [--cupy-include DIR] [--sm 75 80 90 100 120]

KERNELS is the folder CUPY_CACHE_DIR of a run under CUPY_CACHE_SAVE_CUDA_SOURCE=1. Each source is
compiled by every NVRTC installed next to this Python (the wheels nvidia-cuda-nvrtc-cu12 and
nvidia-cuda-nvrtc; nvidia-cuda-runtime-cu12 and nvidia-cuda-runtime bring their headers), for the
architectures it supports. A refusal is printed with the kernel's name and the compiler's words, and
the exit status is 1. Of xpnet's own kernels two more things are asked: that registers are spilled
nowhere, and that there is no instruction of float64 in those for float32.

What is compiled is what CuPy's ROCm build wrote. A kernel of our own has the same text as on CUDA.
CuPy's own may differ: _hip_bool_cast and <cupy/hip_workaround.cuh> are plain C++ or guarded, so
nothing has to be removed; reductions and scans assume 64 lanes where CUDA has 32, so these compile
here in a form that CUDA does not run. A source with templates only (integer matmul) is parsed but
not instantiated.
"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import re
import sys
import sysconfig
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ARCHITECTURES = (75, 80, 90, 100, 120)
OWN = re.compile(r"^typedef (float|double) REAL;$", re.MULTILINE)  # in a source of xpnet's kernels
PROCESSES = 2


@dataclass(frozen=True)
class Compiler:
    """One installed NVRTC and the CUDA headers that belong to it."""

    library: Path
    headers: Path


@dataclass(frozen=True)
class Result:
    """What one compiler said of one source; ``error`` is empty if it made a cubin as wanted."""

    compiler: Compiler
    architecture: int
    source: Path
    error: str
    seconds: float


def main() -> None:
    options = parse_arguments()
    compilers = installed_compilers(options.libraries)
    sources = distinct_sources(options.kernels)
    if {"float", "double"} - {own[1] for text in sources if (own := OWN.search(text.read_text()))}:
        sys.exit(f"xpnet's kernels for float32 and float64 are not both in {options.kernels}")
    include = options.cupy_include or cupy_include()
    start = time.perf_counter()
    results = compile_all(sources, compilers, options.sm, include)
    print_table(results, len(sources))
    failures = [result for result in results if result.error]
    for failure in failures:
        print_failure(failure)
    seconds = time.perf_counter() - start
    print(f"{len(results) - len(failures)} cubins, {len(failures)} failures, {seconds:.0f} s")
    sys.exit(1 if failures else 0)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compile CuPy's saved kernels with NVRTC.")
    parser.add_argument("kernels", type=Path, help="the CUPY_CACHE_DIR of a run that saved sources")
    parser.add_argument("--cupy-include", type=Path, help="cupy/_core/include of a CuPy wheel")
    parser.add_argument(
        "--libraries",
        type=Path,
        default=Path(sysconfig.get_path("platlib")) / "nvidia",
        help="where the NVRTC wheels are (default: the site-packages of this Python)",
    )
    parser.add_argument("--sm", type=int, nargs="+", default=ARCHITECTURES, help="such as 80 90")
    return parser.parse_args()


# ---- what there is to compile, and with what


def distinct_sources(folder: Path) -> list[Path]:
    """Return the saved sources, of equal ones the first."""
    by_text = {path.read_text(): path for path in sorted(folder.glob("*.cu"), reverse=True)}
    if not by_text:
        sys.exit(f"no *.cu in {folder}: was CUPY_CACHE_SAVE_CUDA_SOURCE=1 set?")
    return sorted(by_text.values())


def installed_compilers(nvidia: Path) -> list[Compiler]:
    """Find the wheels' libnvrtc.so.N: CUDA 12 has a folder per library, CUDA 13 one for all."""
    compilers = []
    for library in sorted(nvidia.glob("*/lib/libnvrtc.so.*")):
        own = library.parents[1] / "include"
        headers = own if (own / "cuda_runtime.h").exists() else nvidia / "cuda_runtime/include"
        if not (headers / "cuda_runtime.h").exists():
            sys.exit(f"no CUDA headers for {library}: install nvidia-cuda-runtime of the same CUDA")
        compilers.append(Compiler(library, headers))
    if not compilers:
        sys.exit(f"no NVRTC in {nvidia}: pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-nvrtc")
    return compilers


def cupy_include() -> Path:
    spec = importlib.util.find_spec("cupy")
    if spec is None or spec.origin is None:
        sys.exit("give --cupy-include: this Python has no CuPy")
    return Path(spec.origin).parent / "_core/include"


def cupy_options(cupy: Path, headers: Path, architecture: int) -> list[str]:
    """Return the options with which CuPy 14.2 calls NVRTC.

    See assemble_cupy_compiler_options in cupy/_core/core.pyx and _compile_with_cache_cuda in
    cupy/cuda/compiler.py.
    """
    bundled = cupy / "cupy/_cccl"
    folders = [bundled / "libcudacxx", bundled / "thrust", bundled / "cub", cupy, headers]
    return [
        *(f"-I{folder}" for folder in folders),
        "--std=c++17",
        "-ftz=true",
        f"-arch=sm_{architecture}",
        "--device-as-default-execution-space",
    ]


# ---- compiling


def compile_all(
    sources: list[Path], compilers: list[Compiler], wanted: list[int], include: Path
) -> list[Result]:
    jobs = [
        (compiler, architecture, source, include)
        for compiler in compilers
        for architecture in wanted
        if architecture in Nvrtc.load(compiler.library).architectures()
        for source in sources
    ]
    with ProcessPoolExecutor(PROCESSES) as pool:
        return list(pool.map(compile_one, jobs, chunksize=8))


def compile_one(job: tuple[Compiler, int, Path, Path]) -> Result:
    compiler, architecture, source, include = job
    start = time.perf_counter()
    options = cupy_options(include, compiler.headers, architecture)
    text = source.read_text()
    nvrtc = Nvrtc.load(compiler.library)
    if own := OWN.search(text):
        options.append("--ptxas-options=-v")  # says in the log what is spilled
    error, log, ptx = nvrtc.compile(text, source.name, options)
    if own and not error:
        error = wasteful(log, ptx, own[1])
    return Result(compiler, architecture, source, error, time.perf_counter() - start)


def wasteful(log: str, ptx: str, real: str) -> str:
    """Say what makes xpnet's kernels for ``real`` slow on a GPU; nothing if they are not."""
    spills = [line for line in log.splitlines() if re.search(r"[1-9]\d* bytes spill", line)]
    doubles = [line.strip() for line in ptx.splitlines() if ".f64" in line]
    if "bytes spill" not in log:
        return "the compiler does not say whether registers are spilled"
    if spills:
        return "\n".join(["registers are spilled:", *spills])
    if real == "float" and doubles:
        return "\n".join(["arithmetic in float64:", *doubles[:10]])
    return ""


class Nvrtc:
    """The few functions of NVRTC that are needed, of one library file."""

    def __init__(self, library: Path) -> None:
        # NVRTC opens its builtins by name; once loaded by path, the name is found.
        for builtins in library.parent.glob("libnvrtc-builtins.so*"):
            ctypes.CDLL(str(builtins))
        self._library = ctypes.CDLL(str(library))

    @staticmethod
    @cache
    def load(library: Path) -> Nvrtc:
        return Nvrtc(library)

    def version(self) -> str:
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        return f"{major.value}.{minor.value}"

    def architectures(self) -> list[int]:
        count = ctypes.c_int()
        self._check(self._library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        numbers = (ctypes.c_int * count.value)()
        self._check(self._library.nvrtcGetSupportedArchs(numbers))
        return list(numbers)

    def compile(self, source: str, name: str, options: list[str]) -> tuple[str, str, str]:
        """Compile to a cubin; return an error (empty if it made one), the log and the PTX."""
        program = ctypes.c_void_p()
        self._check(
            self._library.nvrtcCreateProgram(
                ctypes.byref(program), source.encode(), name.encode(), 0, None, None
            )
        )
        words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = self._library.nvrtcCompileProgram(program, len(options), words)
        log, ptx = self._text("ProgramLog", program), ""
        size = ctypes.c_size_t()
        if status:
            error = log or f"nvrtcCompileProgram returned {status}"
        else:
            self._check(self._library.nvrtcGetCUBINSize(program, ctypes.byref(size)))
            error = "" if size.value else "no cubin"
            ptx = self._text("PTX", program)
        self._library.nvrtcDestroyProgram(ctypes.byref(program))
        return error, log, ptx

    def _text(self, what: str, program: ctypes.c_void_p) -> str:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        text = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, f"nvrtcGet{what}")(program, text))
        return text.value.decode()

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise RuntimeError(f"NVRTC error {status}")


# ---- reporting


def print_table(results: list[Result], sources: int) -> None:
    groups: dict[tuple[Compiler, int], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.compiler, result.architecture].append(result)
    print(f"{'NVRTC':>6} {'arch':>7} {'sources':>8} {'cubins':>7} {'failures':>9} {'seconds':>8}")
    for (compiler, architecture), group in groups.items():
        failures = sum(bool(result.error) for result in group)
        seconds = sum(result.seconds for result in group)
        version = Nvrtc.load(compiler.library).version()
        print(
            f"{version:>6} {f'sm_{architecture}':>7} {sources:>8} {len(group) - failures:>7} "
            f"{failures:>9} {seconds:>8.1f}"
        )


def print_failure(failure: Result) -> None:
    declaration = r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)"
    names = ", ".join(re.findall(declaration, failure.source.read_text())) or "no kernel"
    version = Nvrtc.load(failure.compiler.library).version()
    print(f"\nNVRTC {version}, sm_{failure.architecture}: {names} ({failure.source})")
    print(failure.error.rstrip())


if __name__ == "__main__":
    main()
