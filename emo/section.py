"""What all sections of the configuration have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Settings that stand beside the code that they set.

    An unknown key is refused. What a key means stands below it, in one or more whole sentences: the page of
    all keys, `emo config` and the JSON schema are made of them.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True
    )
