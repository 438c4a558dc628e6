"""The plots of a result: SVG files, and one page that shows them beside the table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from emo.errors import InputError
from emo.pages import rendering


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
    figures = [Markup(svg) for svg in plots.values()]
    page = rendering.render(
        "emo.evaluation", "page.html", {"title": title, "text": text, "figures": figures}, style="page.css"
    )
    files: Sequence[tuple[str, str]] = [*((f"{name}.svg", svg) for name, svg in plots.items())]
    try:
        for name, content in [*files, ("index.html", page)]:
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--plots {folder}: cannot be written: {error.strerror}") from error
    return folder / "index.html"
