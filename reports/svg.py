"""A matplotlib figure as inline SVG that follows the page: its colours, its fonts, its dark mode.

Figures are drawn in sentinel colours, which become CSS variables here; ids get a prefix, since 47 of
them repeat from figure to figure. The trap: `svg.hashsalt` and `metadata Date=None` make the same
bytes twice, and only the first is an rcParam.
"""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER, STRIP = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
# Okabe-Ito without the three that fail 3:1 on white (orange, sky, yellow); black follows the ink.
SERIES = ("#112230", "#112231", "#112232", "#112233", INK)
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--rule)",
    PAPER: "var(--paper)",
    STRIP: "var(--strip)",
    **{colour: f"var(--series-{place})" for place, colour in enumerate(SERIES[:-1])},
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lossgauge",
    "font.family": "sans-serif",
    "font.size": 8.0,
    "hatch.linewidth": 0.5,
    "hatch.color": GRID,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "path.simplify": False,
}
SCALE = 1.36  # CSS pixels per point: 8 pt text is drawn 11 px high


def styled() -> AbstractContextManager[None]:
    """Returns the context in which figures are drawn and rendered."""
    return matplotlib.rc_context(_STYLE)


def rendered(figure: Figure, prefix: str, title: str, description: str) -> str:
    """Returns the figure as an inline `<svg role="img">` with title and description for readers."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)  # its `*` would style the whole page
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"(\.\d\d)\d+", r"\1", text)  # a hundredth of a point is finer than any screen
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for sentinel, variable in _VARIABLES.items():
        text = text.replace(sentinel, variable)
    width, height = figure.get_size_inches() * 72
    head = (
        f'<svg role="img" aria-labelledby="{prefix}-title {prefix}-desc" viewBox="0 0 {width:g} {height:g}" '
        f'style="max-width: {width * SCALE:.0f}px"><title id="{prefix}-title">{escape(title)}</title>'
        f'<desc id="{prefix}-desc">{escape(description)}</desc>'
    )
    return head + re.sub(r"\n\s*", "\n", text[text.index(">") + 1 :])
