"""``python -m xpnet.bench.worker SPEC``: one library in a process of its own.

SPEC is JSON: ``{"backend": NAME}`` asks for the library's devices; with ``"device"`` and
``"settings"`` one of them is measured. Answers are lines of JSON on stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from typing import Any

from xpnet.backends.libraries import LIBRARIES
from xpnet.backends.place import Backend, select
from xpnet.bench.measure import Bench
from xpnet.bench.products import TOOLS, hardware, is_accelerator, threads
from xpnet.bench.results import Settings
from xpnet.exceptions import BackendUnavailable


def answers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    name = spec["backend"]
    try:
        default = select(name)
    except BackendUnavailable as error:
        yield {"absent": str(error)}
        return
    if "device" not in spec:
        yield {"places": [_about(place) for place in places(default)]}
        return
    TOOLS[name].prepare()
    settings = Settings(**spec["settings"] | {"hidden": tuple(spec["settings"]["hidden"])})
    bench = Bench(select(name, spec["device"], settings.dtype), settings)
    for side, seconds in bench.squares():
        yield {"side": side, "seconds": seconds}
    for hidden in settings.hidden:
        yield {"cell": asdict(bench.cell(hidden))}


def places(default: Backend) -> list[Backend]:
    """The library's default device, and the first of the other kind: accelerator or CPU."""
    library = LIBRARIES[default.name]
    found = {is_accelerator(default): default}
    for device in (*library.devices(default.xp), "cpu"):
        with suppress(BackendUnavailable, ValueError):
            place = select(default.name, device)
            found.setdefault(is_accelerator(place), place)
    return list(found.values())


def _about(place: Backend) -> dict[str, Any]:
    """What a ``Series`` says of its place."""
    return {
        "backend": place.name,
        "device": place.device_name,
        "version": str(importlib.import_module(place.name).__version__),
        "hardware": hardware(place),
        "accelerator": is_accelerator(place),
        "threads": threads(place),
    }


def main() -> None:
    # The answers have stdout for themselves: what libraries print there goes to stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        for answer in chain(answers(json.loads(sys.argv[1])), [{"done": True}]):
            out.write(json.dumps(answer) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
