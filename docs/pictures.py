"""Draws the terminal pictures of the README as SVG from snapshots of real output.

python docs/pictures.py            write docs/show.svg and docs/explain.svg
python docs/pictures.py --check    exit 1 when they are not what it would write

The snapshots are tested against the real command (tests/cli/test_screens.py).
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
SNAPSHOTS = DOCS.parent / "tests" / "snapshots" / "screens"
PICTURES = {"show": "The effective configuration with its origins", "explain": "Why a key has its value"}

COLUMNS, CHARACTER, LINE, MARGIN = 96, 8.4, 20, 16
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
GROUND, TEXT = "#0d1117", "#e6edf3"
COLOURS = {
    "red": "#ff7b72",
    "green": "#7ee787",
    "yellow": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76e3ea",
}


def style(names: str) -> str:
    """The attributes of a piece of text from its marks, such as `green bold`."""
    parts: list[str] = []
    for name in names.split():
        if name == "bold":
            parts.append('font-weight="bold"')
        elif name == "dim":
            parts.append('fill-opacity="0.65"')
        elif name == "struck":
            parts.append('text-decoration="line-through"')
        else:
            parts.append(f'fill="{COLOURS[name.removeprefix("bright-")]}"')
    return "".join(f" {part}" for part in parts)


def picture(marked: str, title: str) -> str:
    """One screen as SVG. Each piece has its column written out, so that no font moves it."""
    lines = [line for line in marked.rstrip("\n").split("\n") if not line.startswith("[exit")]
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    rows: list[str] = []
    for number, line in enumerate(lines):
        column = 0
        for names, text in pieces(line):
            for run in re.finditer(r"\S+(?: \S+)*", text):  # SVG folds a run of spaces into one
                x, y = MARGIN + (column + run.start()) * CHARACTER, MARGIN + number * LINE + 14
                length = f'textLength="{len(run[0]) * CHARACTER:.1f}"'
                rows.append(f'<text x="{x:.1f}" y="{y}" {length}{style(names)}>{html.escape(run[0])}</text>')
            column += len(text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">\n'
        f"<title>{html.escape(title)}</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>\n'
        f'<g font-family="{FONT}" font-size="14" fill="{TEXT}">\n' + "\n".join(rows) + "\n</g>\n</svg>\n"
    )


def pieces(line: str) -> list[tuple[str, str]]:
    """(marks, text) for each piece of a line."""
    found: list[tuple[str, str]] = []
    for part in re.split(r"(<[a-z][a-z -]*>.*?</>)", line):
        match = re.fullmatch(r"<([a-z][a-z -]*)>(.*?)</>", part)
        found.append((match[1], match[2]) if match else ("", part))
    return found


def main(argv: list[str]) -> int:
    """Writes the pictures, or compares them. Returns the exit status."""
    stale: list[str] = []
    for name, title in PICTURES.items():
        path = DOCS / f"{name}.svg"
        drawn = picture((SNAPSHOTS / f"picture-{name}.txt").read_text(encoding="utf-8"), title)
        if "--check" not in argv:
            path.write_text(drawn, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != drawn:
            stale.append(path.name)
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run: python docs/pictures.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
