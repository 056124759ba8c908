"""Makes helper modules beside the tests importable, whichever way pytest imports the tests."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
