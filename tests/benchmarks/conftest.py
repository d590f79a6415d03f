"""The scripts of benchmarks/ import each other by name, as Python does for a script's folder."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / 'benchmarks'

if str(FOLDER) not in sys.path:
    sys.path.append(str(FOLDER))
