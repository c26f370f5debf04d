"""Draws the diagrams of the explanations as SVG.

python docs/diagrams.py            write docs/diagram-*.svg
python docs/diagrams.py --check    exit 1 when they are not what it would write
"""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parent
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
GROUND, TEXT, LINE = "#ffffff", "#1f2328", "#59636e"
FILLS = {"plain": "#f6f8fa", "good": "#dafbe1", "bad": "#ffebe9", "note": "#fff8c5", "blue": "#ddf4ff"}
MARGIN = 16


class Drawing:
    """Boxes and arrows on a white card."""

    def __init__(self, title: str, width: int, height: int) -> None:
        self.title = title
        self.size = (width, height)
        self.parts: list[str] = []

    def box(self, x: int, y: int, width: int, lines: Sequence[str], fill: str = "plain", height: int = 0) -> None:
        """A box with centred lines, the first one bold when there are several. `y` is its top."""
        tall = height or 20 * len(lines) + 16
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{tall}" rx="6" fill="{FILLS[fill]}" stroke="{LINE}"/>'
        )
        top = y + (tall - 20 * len(lines)) // 2 + 15
        for number, line in enumerate(lines):
            bold = len(lines) > 1 and number == 0
            self.text(x + width // 2, top + 20 * number, line, anchor="middle", bold=bold)

    def text(self, x: int, y: int, line: str, *, anchor: str = "start", bold: bool = False, code: bool = False) -> None:
        """One line of text; `y` is its baseline."""
        weight = ' font-weight="600"' if bold else ""
        family = ' font-family="ui-monospace, Menlo, Consolas, monospace"' if code else ""
        self.parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}"{weight}{family}>{html.escape(line)}</text>')

    def arrow(self, start: tuple[int, int], end: tuple[int, int], label: str = "") -> None:
        """A straight arrow; its label is beside the middle."""
        (x1, y1), (x2, y2) = start, end
        self.parts.append(
            f'<path d="M{x1} {y1} L{x2} {y2}" stroke="{LINE}" stroke-width="1.5" marker-end="url(#tip)"/>'
        )
        if label and x1 == x2:
            self.text(x1 + 8, (y1 + y2) // 2 + 5, label)
        elif label:
            self.text((x1 + x2) // 2, min(y1, y2) - 7, label, anchor="middle")

    def svg(self) -> str:
        """The whole file."""
        width, height = self.size
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
            f"<title>{html.escape(self.title)}</title>\n"
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 L8 4 L0 8 Z" fill="{LINE}"/></marker></defs>\n'
            f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>\n'
            f'<g font-family="{FONT}" font-size="14" fill="{TEXT}">\n' + "\n".join(self.parts) + "\n</g>\n</svg>\n"
        )


def cascade() -> Drawing:
    """The layers, and the values of one key in them."""
    layers = (
        ("execution", "config.override(…)", ""),
        ("flags", "--llm-model, load(flags=…)", ""),
        ("env", "STIGMER_LLM_MODEL=fast", "fast"),
        ("project", ".stigmer/config.yaml", "powerful"),
        ("user", "~/.stigmer/config.yaml", "balanced"),
        ("etcd", "a fleet's store", ""),
        ("site", "the machine's config.yaml", ""),
        ("vendor", "ANTHROPIC_API_KEY, …", ""),
        ("defaults", "packaged, by mode", "qwen2.5-coder:7b"),
    )
    drawing = Drawing("The layers from highest to lowest, and the values of llm.model in them", 760, 412)
    drawing.text(340, 30, "llm.model", anchor="start", bold=True, code=True)
    for number, (name, source, value) in enumerate(layers):
        y = 42 + 38 * number
        trusted = "note" if name == "project" else "plain"
        drawing.box(MARGIN, y, 300, [f"{name}: {source}"], trusted, height=32)
        if value:
            drawing.box(340, y, 170, [value], "good" if name == "env" else "plain", height=32)
    drawing.arrow((516, 134), (580, 134))
    drawing.box(584, 114, 160, ["in force", "fast → llama3.2:3b"], "good", height=48)
    drawing.text(528, 185, "overridden, and")
    drawing.text(528, 205, "listed by explain")
    drawing.text(MARGIN, 402, "A higher layer wins. Yellow: not trusted, may set open keys only.")
    return drawing


def ownership() -> Drawing:
    """Which values the final provider takes."""
    drawing = Drawing("A value belongs to the provider in force at its own layer", 760, 262)
    for x, head in ((MARGIN, "layer"), (190, "provider in force here"), (376, "what the layer sets"), (622, "used")):
        drawing.text(x, 30, head, bold=True)
    rows = (
        ("env", "anthropic, named", "llm.model: fast", "yes"),
        ("project", "ollama", "llm.max_retries: 3", "yes: any provider"),
        ("user", "ollama", "llm.temperature: 0.7", "no: for ollama"),
        ("user", "ollama", "providers.anthropic.max_tokens", "yes: anthropic's"),
        ("defaults", "ollama, named", "providers.ollama.base_url", "no: ollama's"),
    )
    for number, (layer, provider, value, used) in enumerate(rows):
        y = 44 + 38 * number
        drawing.box(MARGIN, y, 150, [layer], height=32)
        drawing.box(190, y, 176, [provider], "blue" if provider.startswith("anthropic") else "plain", height=32)
        drawing.box(376, y, 236, [value], height=32)
        drawing.box(622, y, 126, [used], "good" if used.startswith("yes") else "bad", height=32)
    drawing.text(MARGIN, 250, "The highest layer that names a provider decides: anthropic.")
    return drawing


def trust() -> Drawing:
    """How each entry of a project's file is judged."""
    drawing = Drawing("How each entry of a project's file is judged", 760, 330)
    drawing.box(MARGIN, 20, 190, ["project's file", "one entry after another"])
    drawing.arrow((206, 48), (266, 48))
    kinds = (
        (20, "open key", "model, temperature, …", "plain"),
        (100, "protected key", "base_url, sandbox, …", "note"),
        (200, "never in a project", "secrets, mode, locked, …", "plain"),
        (270, "locked by you", "locked: [llm.num_ctx]", "plain"),
    )
    for y, name, what, fill in kinds:
        drawing.box(270, y, 226, [name, what], fill, height=50)
        if y > 20:
            drawing.arrow((236, y + 25), (266, y + 25))
    drawing.parts.append(f'<path d="M236 48 L236 295" stroke="{LINE}" stroke-width="1.5"/>')
    drawing.arrow((496, 45), (596, 45))
    drawing.box(600, 20, 144, ["used", "merged as a layer"], "good", height=50)
    drawing.arrow((496, 112), (596, 74), "granted")
    drawing.arrow((496, 136), (596, 136))
    drawing.text(502, 156, "no grant")
    drawing.box(600, 108, 144, ["untrusted-key", "exit status 3"], "bad", height=50)
    drawing.arrow((496, 225), (596, 225))
    drawing.box(600, 200, 144, ["error", "granted or not"], "bad", height=50)
    drawing.arrow((496, 295), (596, 295))
    drawing.box(600, 270, 144, ["locked-key", "granted or not"], "bad", height=50)
    return drawing


def reload() -> Drawing:
    """From an edit to the next execution."""
    drawing = Drawing("From an edit to the next execution", 760, 250)
    drawing.box(MARGIN, 30, 130, ["a file changes", "event, or poll"])
    drawing.arrow((146, 58), (182, 58))
    drawing.box(186, 30, 140, ["read", "when it is written"])
    drawing.arrow((326, 58), (362, 58))
    drawing.box(366, 30, 150, ["load everything", "parse, trust, check"], "blue")
    drawing.arrow((516, 58), (584, 58), "good")
    drawing.box(588, 30, 156, ["live.current", "is the new Config"], "good")
    drawing.arrow((666, 86), (666, 136))
    drawing.box(588, 140, 156, ["config.reloaded", "calls subscribers"], "good")
    drawing.arrow((441, 86), (441, 136), "an error")
    drawing.box(346, 140, 190, ["config.reload_rejected", "the last good one stays"], "bad")
    drawing.box(MARGIN, 140, 290, ["running executions", "keep the Config they took"])
    drawing.text(MARGIN, 226, "The next execution reads live.current and gets the whole new Config, never half of it.")
    return drawing


DIAGRAMS = (cascade, ownership, trust, reload)


def main(argv: list[str]) -> int:
    """Writes the diagrams, or compares them. Returns the exit status."""
    stale: list[str] = []
    for draw in DIAGRAMS:
        path = DOCS / f"diagram-{draw.__name__}.svg"
        drawn = draw().svg()
        if "--check" not in argv:
            path.write_text(drawn, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != drawn:
            stale.append(path.name)
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run: python docs/diagrams.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
