"""``python -m edgegen`` is ``edgegen``."""

from __future__ import annotations

import sys

from edgegen.cli import main

if __name__ == "__main__":
    sys.exit(main())
