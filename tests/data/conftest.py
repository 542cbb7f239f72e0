"""Fixtures for the tests of streams."""

from __future__ import annotations

import pytest
from stream_helpers import MEMORY, SOURCES, readers

from xpnet.data.open_stream import stream


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """No test may leave a thread of the reader running."""
    yield
    assert readers() == []


@pytest.fixture(params=SOURCES)
def source(request, tmp_path):
    """A stream of ROWS and NUMBERS out of every kind of source."""
    args, settings = SOURCES[request.param](tmp_path)
    with stream(*args, **{"memory": MEMORY} | settings) as opened:
        yield opened
