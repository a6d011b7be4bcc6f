"""What tests share: servers, drawings, browsers, and where the repository is."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
