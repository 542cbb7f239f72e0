"""Type names used across the library.

No common base class exists for arrays of different libraries, so ``Array`` and ``Namespace``
are documentation first: they say what is meant where the type checker can only see ``Any``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Array: TypeAlias = Any
"""An array of any library that follows the Array API standard."""

Namespace: TypeAlias = Any
"""The module that holds an array library's functions, for example ``array_api_compat.torch``."""
