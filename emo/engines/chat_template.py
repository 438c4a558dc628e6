"""Writing a chat with the template of a checkpoint: the one place for experts, extractors and the judge."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emo.errors import InputError

_log = logging.getLogger(__name__)

Turn = Mapping[str, Any]


class ChatTemplate:
    """The template of a processor or a tokenizer, with the variables that a user sets for it.

    Raises InputError where there is no template, and for a variable that it does not know.
    """

    def __init__(self, writer: Any, folder: Path, variables: Mapping[str, Any]) -> None:
        self._writer = writer
        self._folder = folder
        self._variables = dict(variables)
        self._takes_system: bool | None = None
        text = template_of(writer)
        if text is None:
            raise InputError(f"{folder}: no chat template; expected an instruction-tuned checkpoint")
        for name in variables:
            if not re.search(rf"\b{re.escape(name)}\b", text):
                raise InputError(f"{folder}: template.{name}: its chat template has no such variable")

    def written(self, turns: Sequence[Turn]) -> str:
        """The chat as text, up to where the answer begins.

        A system turn that the template refuses goes before the question instead.
        """
        from jinja2 import TemplateError

        if turns[0]["role"] != "system" or self._takes_system is False:
            return self._render(without_system(turns))
        try:
            text = self._render(turns)
        except TemplateError as error:
            text = self._render(without_system(turns))
            if self._takes_system is None:
                _log.warning(
                    "%s: its chat template takes no system turn (%s); it goes before the question",
                    self._folder,
                    error,
                )
            self._takes_system = False
        else:
            self._takes_system = True
        return text

    def _render(self, turns: Sequence[Turn]) -> str:
        return str(
            self._writer.apply_chat_template(
                list(turns), tokenize=False, add_generation_prompt=True, **self._variables
            )
        )


def template_of(writer: Any) -> str | None:
    """The template of a processor or tokenizer as text; where it has several by name, all of them."""
    template = getattr(writer, "chat_template", None)
    if isinstance(template, dict):
        return "\n".join(map(str, template.values()))
    return None if template is None else str(template)


def without_system(turns: Sequence[Turn]) -> list[Turn]:
    """The same turns with what a system turn says before the question."""
    if turns[0]["role"] != "system":
        return list(turns)
    system, user, *others = turns
    said, asked = _text_of(system["content"]), user["content"]
    if isinstance(asked, str):
        return [{**user, "content": f"{said}\n\n{asked}"}, *others]
    place = next((at for at, part in enumerate(asked) if part["type"] == "text"), len(asked))
    content = [*asked[:place], {"type": "text", "text": f"{said}\n\n"}, *asked[place:]]
    return [{**user, "content": content}, *others]


def _text_of(content: str | Sequence[Turn]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
