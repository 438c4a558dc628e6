"""A page: one HTML file without any outside resource, from plain values.

Two things keep data from becoming markup: every value that a template prints is escaped, and the page's
policy allows only the script and the style whose hashes it names. All text from outside also loses the
control characters that could reorder what is read.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

# Embeddings, overrides and isolates reorder what follows; C0 and C1 controls and lone surrogates have no
# place in a page.
_HARMFUL = re.compile("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# The marks that only nudge the order are not needed where every text stands in an element of its own.
_MARKS = re.compile("[\u200e\u200f\u061c]")


def render(
    package: str,
    template: str,
    values: Mapping[str, Any],
    *,
    style: str = "",
    script: str = "",
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> str:
    """The page of a template that extends `base.html`; the same values give the same text.

    package: where the template and its files lie; style, script: names of files there. The style stands
    behind that of all pages.
    """
    environment = _environment(package)
    environment.filters.update(filters or {})
    css = _asset("emo.pages", "base.css") + (_asset(package, style) if style else Markup(""))
    js = _asset(package, script) if script else Markup("")
    policy = "default-src 'none'; img-src data:; style-src " + _source(css)
    policy += f"; script-src {_source(js)}" if js else ""
    policy += "; base-uri 'none'; form-action 'none'"
    return environment.get_template(template).render(values, style=css, script=js, policy=policy)


@cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("emo.pages", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=neutral,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _asset(package: str, name: str) -> Markup:
    return Markup(resources.files(package).joinpath(name).read_text(encoding="utf-8"))


def _source(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def neutral(value: Any) -> Any:
    """Text without the characters that change how the text around it reads; other values as they are."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _HARMFUL.sub("\ufffd", _MARKS.sub("", value.replace("\r\n", "\n").replace("\r", "\n")))
    return value
