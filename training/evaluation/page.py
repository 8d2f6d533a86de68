# SPDX-License-Identifier: GPL-3.0-or-later
"""What reports are written with: figures as JSON, tables and pictures as HTML, one page that needs no other file."""

import base64
import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1500px; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: .6rem 0 1.4rem; } td, th { padding: .2rem .7rem; text-align: right; }
th { border-bottom: 2px solid #999; } td { border-bottom: 1px solid #ddd; }
td:first-child, th:first-child { text-align: left; }
td.note { text-align: left; color: #666; } .yes { color: #0a7d32; } .no { color: #b3261e; } img { max-width: 100%; }
h2 { margin-top: 2.2rem; } p.small { color: #555; max-width: 60rem; }
"""
Cell = str | float | int | None
_KINDS = {".jpg": "jpeg", ".png": "png"}


def write_json(path: Path, report: dict[str, Any]) -> Path:
    """Write the figures; what is not finite becomes null."""
    path.write_text(json.dumps(_finite(report), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def write_page(path: Path, title: str, parts: Sequence[str]) -> Path:
    """Write a page of HTML parts."""
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    path.write_text(f"{head}{''.join(parts)}\n", encoding="utf-8")
    return path


def picture(file: Path) -> str:
    """Return a picture's element that holds the file itself."""
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    return f'<img src="data:image/{_KINDS[file.suffix]};base64,{data}" alt="">'


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


def shown(value: Cell) -> str:
    """Return a cell as text: a dash for what is not known."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"
    return html.escape(str(value))


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table's element."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{shown(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
