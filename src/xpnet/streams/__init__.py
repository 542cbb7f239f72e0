"""Data that does not fit in memory: read in shuffled blocks, ahead of the training, by a thread.

Examples are rows here, as in files. ``stream(source)`` makes a ``Stream``, ``net.fit(stream)``
trains on it.

chunk.py        what a stream hands out
opening.py      ``stream``: what one can be made of
streaming.py    ``Stream``
shuffle.py      in which order rows come
held_out.py     which rows are set aside for validation
readahead.py    the thread
prepare.py      checks, standardisation, numbers for labels
statistics.py   means, standard deviations and labels in one pass
reading.py      rows by number, of a part of a source, with weights
sources.py      arrays and whatever has slices; filearray.py, csvrows.py, parquet.py: files
batches.py      minibatches that the user makes
"""

from __future__ import annotations

from xpnet.streams.chunk import Chunk
from xpnet.streams.opening import stream
from xpnet.streams.statistics import Statistics
from xpnet.streams.streaming import Stream

__all__ = ["Chunk", "Statistics", "Stream", "stream"]
