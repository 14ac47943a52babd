"""Loads a script of the folder above as a module."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(FOLDER))

from sibling import sibling as load  # noqa: E402, F401
