"""The plots of a result: SVG files, and one page that shows them beside the table."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from emo.errors import InputError

_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;"
    "padding:0 1rem}pre{overflow-x:auto}figure{display:inline-block;margin:0 1rem 1rem 0;"
    "vertical-align:top}svg{max-width:100%;height:auto}"
)


def plot_folder(path: str | Path) -> Path:
    """The folder, made where it is not there; raises InputError where it cannot be."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--plots {folder}: cannot be made: {error.strerror}") from error
    return folder


def write_page(folder: Path, title: str, text: str, plots: Mapping[str, str]) -> Path:
    """Write `NAME.svg` for each plot and `index.html` with all of them; gives the page.

    text: what stands above the plots, as on the terminal. Raises InputError where nothing can be written.
    """
    figures = "".join(f"<figure>{svg}</figure>" for svg in plots.values())
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1><pre>{escape(text)}</pre>{figures}"
        "</body></html>\n"
    )
    files: Sequence[tuple[str, str]] = [*((f"{name}.svg", svg) for name, svg in plots.items())]
    try:
        for name, content in [*files, ("index.html", page)]:
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--plots {folder}: cannot be written: {error.strerror}") from error
    return folder / "index.html"
