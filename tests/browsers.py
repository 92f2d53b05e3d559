"""Debian's Chromium, driven by Playwright: how it is started, and what is measured in it."""

from itertools import product
from typing import Any

CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

LOOKS = list(product((390, 1280), ("light", "dark")))

# The contrast between a text's colour and its background's, by WCAG, for all visible text in it.
CONTRASTS = """parent => {
  const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const parts = color => color.match(/[\\d.]+/g).map(Number);
  const behind = node => {
    const color = node ? parts(getComputedStyle(node).backgroundColor) : [255, 255, 255];
    return color[3] === 0 ? behind(node.parentElement) : color;
  };
  const found = {};
  for (const node of parent.querySelectorAll("*")) {
    if (![...node.childNodes].some(child => child.nodeType === 3 && child.data.trim())) continue;
    if (["title", "desc"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const ink = node instanceof SVGElement ? style.fill : style.color;
    const pair = [luminance(parts(ink)), luminance(behind(node))];
    found[node.textContent.trim()] = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  }
  return found;
}"""


def too_faint(part: Any) -> dict[str, float]:
    """The texts in a part of a page that have less contrast than WCAG's AA asks."""
    return {text: ratio for text, ratio in part.evaluate(CONTRASTS).items() if ratio < 4.5}


def sticks_out(page: Any) -> bool:
    """Whether the whole page has to be moved sideways to see all of it."""
    widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    content, window = page.evaluate(widths)
    return bool(content > window)
