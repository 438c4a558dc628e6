"""What `kubectl apply` says to a custom resource: by its definition, and with unknown fields refused."""

import copy
import functools
import gzip
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from conftest import REPOSITORY

DEFINITIONS = Path(os.environ.get("EMO_TEST_DATA", REPOSITORY / "../shared/data")) / "schemas"
KUBERAY = ("1.6.2", "1.7.0")

# What may stand in the metadata of an object that somebody applies.
_METADATA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "generateName": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "finalizers": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name"],
    "additionalProperties": False,
}


@functools.cache
def schema(file: str, api_version: str) -> dict[str, Any]:
    """The strict JSON schema of one version in a file of definitions; skips the test where it is absent."""
    path = DEFINITIONS / file
    if not path.exists():
        pytest.skip(f"the definitions of the operators are not here: {path} (set EMO_TEST_DATA)")
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    (definition,) = [one for one in yaml.load_all(text, Loader=loader) if one]
    assert definition["kind"] == "CustomResourceDefinition"
    group = definition["spec"]["group"]
    (version,) = [
        one
        for one in definition["spec"]["versions"]
        if one["served"] and f"{group}/{one['name']}" == api_version
    ]
    whole = strict(version["schema"]["openAPIV3Schema"])
    whole["properties"] |= {
        "metadata": _METADATA,
        "apiVersion": {"const": api_version},
        "kind": {"const": definition["spec"]["names"]["kind"]},
    }
    whole["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return whole


def strict(structural: dict[str, Any]) -> dict[str, Any]:
    """A structural schema as a JSON schema that refuses each field that the API server would drop."""
    plain = copy.deepcopy(structural)
    _close(plain)
    jsonschema.Draft7Validator.check_schema(plain)
    return plain


def _close(node: dict[str, Any]) -> None:
    if node.get("x-kubernetes-int-or-string"):
        node.pop("type", None)
        node["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if node.get("x-kubernetes-embedded-resource"):
        node.setdefault("properties", {}).update(
            {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
        )
    if node.get("type") == "object" and "additionalProperties" not in node:
        node["additionalProperties"] = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    if str(node.get("pattern", "")).startswith("^(?i)"):
        # Go's flag may stand anywhere, Python's must stand first.
        node["pattern"] = "(?i)^" + node["pattern"].removeprefix("^(?i)")
    if node.get("nullable") and "type" in node:
        node["type"] = [node["type"], "null"]
    for child in node.get("properties", {}).values():
        _close(child)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            _close(node[key])


def refusals(document: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    """What is wrong with a document, each with its path."""
    found = jsonschema.Draft7Validator(whole).iter_errors(document)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]
