"""Build the shim with g++: ``python tools/cupy_on_cpu/build.py [--out DIR]``.

Run it with the Python of the environment that holds the wheel cupy-rocm-7-0: the symbols the wheel
wants are read off its libraries, and each one that src/ does not implement becomes a loud stub.
Writes only below DIR, and nothing if what is there is up to date.
"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run as a script
from cupy_on_cpu.environment import DEFAULT_OUT, HERE

LIBRARY = "libamdhip64.so.7"
# All of these are one library: a second copy would have devices and counters of its own.
OTHER_NAMES = (
    "libhiprtc.so.7",
    "libhipblas.so.3",
    "librocblas.so.5",
    "libhiprand.so.1",
    "libhipsparse.so.4",
    "libhipfft.so.0",
    "librocfft.so.0",
    "librocsolver.so.0",
    "libroctx64.so.4",
    "libroctracer64.so.4",
)

SHIM_FLAGS = "-std=c++17 -O3 -march=native -fPIC -Wall -Wextra -Wno-unused-parameter"
# Kernels: -O1, since compiling takes longer than running. The precompiled headers need the same.
KERNEL_FLAGS = (
    "-std=gnu++17 -O1 -fPIC -w -pipe -fno-strict-aliasing -ffp-contract=off -fno-gnu-unique"
)
LINK_FLAGS = "-shared -s -Wl,-Bsymbolic -Wl,--build-id=none"
PRECOMPILED = ("device.h", "device_with_cupy.h")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Build the shim for the wheel cupy-rocm-7-0 of this Python."
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help=f"where to (default: {DEFAULT_OUT})"
    )
    out = parser.parse_args().out.resolve()
    site = site_packages()
    stamp, wanted = out / "stamp", identity_of_build(site)
    if stamp.exists() and stamp.read_text() == wanted:
        print(f"{out} is up to date")
        return
    stamp.unlink(missing_ok=True)
    build(out, site)
    stamp.write_text(wanted)
    print(f"built {out}")


def site_packages() -> Path:
    """Return where CuPy's wheel is installed; CuPy is not imported, for it needs the shim."""
    spec = importlib.util.find_spec("cupy")
    if spec is None or spec.origin is None:
        sys.exit(f"{sys.executable} has no CuPy: pip install cupy-rocm-7-0==14.2.0")
    return Path(spec.origin).parents[1]


def build(out: Path, site: Path) -> None:
    """Fill ``out``/lib, bin and include."""
    for name in ("lib", "objects"):
        (out / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "include"):
        shutil.copytree(HERE / name, out / name, dirs_exist_ok=True)
    identity = identity_of_kernels()
    with ThreadPoolExecutor(2) as pool:
        sources = sorted((HERE / "src").glob("*.cpp"))
        compiling = [pool.submit(compile_source, source, out, identity) for source in sources]
        headers = [pool.submit(precompile, name, out, site) for name in PRECOMPILED]
        objects = [job.result() for job in compiling]
        for job in headers:
            job.result()
    stubs = compile_stubs(out, wanted_symbols(site) - defined_symbols(objects))
    link_library(out / "lib" / LIBRARY, [*objects, stubs])
    for link in (out / "lib").iterdir():
        if link.is_symlink():
            link.unlink()
    for name in OTHER_NAMES:
        (out / "lib" / name).symlink_to(LIBRARY)


# ---- what was built from what


def identity_of_kernels() -> str:
    """Name what decides the bytes of a kernel: CuPy forgets cached kernels when this changes."""
    digest = hashlib.sha256(f"{KERNEL_FLAGS} {LINK_FLAGS} {output('g++', '--version')}".encode())
    for source in [*sorted((HERE / "include").rglob("*.h")), HERE / "src/compiler.cpp"]:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def identity_of_build(site: Path) -> str:
    """Name everything that the build depends on, the processor of -march=native included."""
    wheels = ",".join(sorted(path.name for path in site.glob("cupy*.dist-info")))
    target = output("g++", "-march=native", "-Q", "--help=target")
    digest = hashlib.sha256(f"{identity_of_kernels()} {wheels} {site} {target}".encode())
    for source in [*sorted((HERE / "src").iterdir()), HERE / "build.py", HERE / "bin/hipcc"]:
        digest.update(source.read_bytes())
    return digest.hexdigest()


# ---- the steps


def compile_source(source: Path, out: Path, identity: str) -> Path:
    target = out / "objects" / f"{source.stem}.o"
    defines = []
    if source.stem == "compiler":
        flags = f"{KERNEL_FLAGS} {LINK_FLAGS}"
        defines = [f'-DFAKEHIP_KERNEL_FLAGS="{flags}"', f'-DFAKEHIP_BUILD_ID="{identity}"']
    run("g++", *SHIM_FLAGS.split(), *defines, "-c", source, "-o", target)
    return target


def precompile(name: str, out: Path, site: Path) -> None:
    header = out / "include/cupy_on_cpu" / name
    folders = [f"-I{site / 'cupy/_core/include'}", f"-I{out / 'include'}"]
    run("g++", *KERNEL_FLAGS.split(), *folders, "-x", "c++-header", header)


def wanted_symbols(site: Path) -> set[str]:
    """Return the names of HIP and ROCm functions that the wheel's libraries leave undefined."""
    libraries = [*(site / "cupy").rglob("*.so"), *(site / "cupy_backends").rglob("*.so")]
    names = re.findall(r" U (\w+)", output("nm", "-D", "--undefined-only", *libraries))
    return {name for name in names if re.match(r"_*(hip|roc)", name)}


def defined_symbols(objects: list[Path]) -> set[str]:
    return set(re.findall(r" [TBD] (\w+)", output("nm", "--defined-only", *objects)))


def compile_stubs(out: Path, names: set[str]) -> Path:
    """Give each name a function that says it is missing and returns hipErrorNotSupported."""
    lines = [
        "#include <stdio.h>",
        "static int missing(const char* name) {",
        '    fprintf(stderr, "fakehip: not implemented: %s\\n", name);',
        "    return 801;",
        "}",
    ]
    lines += [f'extern "C" int {name}() {{ return missing("{name}"); }}' for name in sorted(names)]
    source, target = out / "objects/stubs.cpp", out / "objects/stubs.o"
    source.write_text("\n".join(lines) + "\n")
    run("g++", "-O1", "-fPIC", "-w", "-c", source, "-o", target)
    return target


def link_library(library: Path, objects: list[Path]) -> None:
    """Link beside the old library and put it in its place: a process may be running on the old."""
    new = library.with_suffix(".new")
    run("g++", "-shared", "-o", new, f"-Wl,-soname,{LIBRARY}", *objects, "-ldl")
    new.replace(library)


def run(*command: object) -> None:
    if subprocess.run([str(word) for word in command]).returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}")


def output(*command: object) -> str:
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
