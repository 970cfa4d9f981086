"""What the documentation shows to be typed into a shell."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_PROGRAMS = "two-tower|make|python|curl|kubectl|docker|torchrun|tensorboard|pip|git"
_FENCED = re.compile(r"```(?:sh|bash|shell|console)\n(.*?)```", re.DOTALL)
_INDENTED = re.compile(r"(?:^|\n)((?: {4,}[^\n]*(?:\n|$))+)")


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks of code that begin with a program, in their order; continued lines joined."""
    text = re.sub(r" *\\\n\s*", " ", page.read_text())
    found = sorted((m.start(), m[1]) for pattern in (_FENCED, _INDENTED) for m in pattern.finditer(text))
    lines = (line.strip() for _, block in found for line in block.splitlines())
    return [line for line in lines if re.match(rf"({_PROGRAMS})\b", line)]
