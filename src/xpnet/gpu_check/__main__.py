"""Runs ``xpnet.bench.gpu``."""

import sys

from xpnet.bench.gpu import main

sys.exit(main())
