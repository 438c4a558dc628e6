"""Where a checkpoint is, what it is, and what is missing before it can be loaded."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from emo.engines.settings import ModelSettings
from emo.errors import EmoError, InputError, StorageError
from emo.paths import is_s3
from emo.store.backend import Entry
from emo.store.s3 import s3_in_use
from emo.store.storage import Storage

if TYPE_CHECKING:
    from emo.engines.classification import ClassifierSettings, Medium

# Weights as safetensors only: a pickle runs code when it is read.
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken", "README.md")
_ELSEWHERE = (
    "emo models fetch --to FOLDER, on a machine with internet, makes a folder that can be named instead"
)
# Read only where the configuration consents to it, and then by torch's reader that makes tensors alone.
_PICKLED = "pytorch_model.bin"
_TOKENIZERS = ("vocab.txt", "vocab.json", "tokenizer.json", "tokenizer.model")
_GIB = 1024**3


def resolve_model(
    model: str,
    revision: str | None = None,
    trust_remote_code: bool = False,
    pickled: bool = False,
    weights: bool = True,
) -> Path:
    """The local folder of a checkpoint or adapter: a folder, an `s3://` folder, or a hub id.

    pickled: fetch pytorch_model.bin too, which somebody has consented to read; weights: whether its weights
    are fetched with its other files.

    What is not local is fetched once per machine; a second worker waits for the first. Raises InputError
    where there is nothing of that name, StorageError where it cannot be fetched.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if is_s3(model):
        return _fetch_s3(model)
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise InputError(f"model {model!r}: no such folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    wanted = _wanted(trust_remote_code, pickled, weights)
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
    except RepositoryNotFoundError as error:
        raise InputError(
            f"model {model!r}: neither a folder nor a model of the hub that can be read"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise StorageError(
            f"model {model!r}: not in the local cache, and the hub did not give it: {error}"
        ) from error


@dataclass(frozen=True)
class NamedModel:
    """A checkpoint that a configuration names.

    key: the key that names it, such as `experts.NAME.model`; weights: whether its weights are used, and not
    its tokenizer alone; the rest as of the settings that name it.
    """

    key: str
    model: str
    revision: str | None = None
    trust_remote_code: bool = False
    pickled: bool = False
    weights: bool = True

    @property
    def remote(self) -> bool:
        """Whether it is no folder of this machine."""
        return not Path(self.model).expanduser().is_dir()

    def fetch(self) -> Path:
        """Its local folder, fetched where it is not there yet; raises as `resolve_model` does."""
        return resolve_model(self.model, self.revision, self.trust_remote_code, self.pickled, self.weights)

    def here(self) -> Path | None:
        """Its local folder where all that is used of it is there already; asks nobody."""
        folder = Path(self.model).expanduser()
        try:
            if self.remote:
                from huggingface_hub import snapshot_download

                folder = Path(snapshot_download(self.model, revision=self.revision, local_files_only=True))
            self.check(folder)
        except (InputError, OSError, ValueError):  # ValueError: it is no name of the hub
            return None
        return folder

    def check(self, folder: Path) -> None:
        """Raise InputError where what is used of it is not in the folder."""
        if self.weights:
            weight_files(folder, self.pickled)
        elif not any((folder / name).exists() for name in _TOKENIZERS):
            raise InputError(f"{folder}: no tokenizer; expected {' or '.join(_TOKENIZERS)}")

    def size(self) -> int | None:
        """Bytes that fetching it takes; None where the hub cannot be asked or does not have it."""
        if self.model.startswith("s3://"):
            return None
        from huggingface_hub import HfApi

        wanted = _wanted(self.trust_remote_code, self.pickled, self.weights)
        try:
            about = HfApi().model_info(self.model, revision=self.revision, files_metadata=True, timeout=10)
        except Exception:  # the hub's client has many ways to say no
            return None
        sizes = [
            file.size or 0
            for file in about.siblings or []
            if any(fnmatch(file.rfilename, pattern) for pattern in wanted)
        ]
        return sum(sizes) or None


def named_models(settings: ModelSettings) -> list[NamedModel]:
    """The model of these settings, and its adapter where there is one."""
    code = settings.trust_remote_code
    found = [NamedModel("model", settings.model, settings.revision, code)]
    return [*found, *([NamedModel("adapter", settings.adapter)] if settings.adapter else [])]


def _wanted(trust_remote_code: bool, pickled: bool, weights: bool) -> list[str]:
    """Which files of a checkpoint are fetched."""
    wanted = [*_WANTED, *(["*.py"] if trust_remote_code else []), *([_PICKLED] if pickled else [])]
    return wanted if weights else [pattern for pattern in wanted if pattern != "*.safetensors"]


def cache_root() -> Path:
    """Where checkpoints from S3 are kept: EMO_CACHE, else `~/.cache/emo`."""
    return Path(os.environ.get("EMO_CACHE", "~/.cache/emo")).expanduser()


def _fetch_s3(uri: str) -> Path:
    """Copy an S3 folder into the cache; a file is fetched when its size or ETag is not the one on record."""
    from filelock import FileLock

    source = Storage(uri, s3_in_use())
    # Two servers may have buckets of one name.
    name = f"{source.s3.endpoint_url or ''}{source.url}"
    target = cache_root() / "models" / hashlib.sha256(name.encode()).hexdigest()[:16]
    target.mkdir(parents=True, exist_ok=True)
    record = target / ".emo-fetched.json"
    try:
        with FileLock(target.with_suffix(".lock")):
            found = source.entries()
            if not found:
                raise InputError(f"model {uri!r}: no objects under this prefix")
            known = json.loads(record.read_text()) if record.exists() else {}
            for entry in found:
                mark = [entry.size, entry.tag]
                local = target / PurePosixPath(entry.path.lstrip("/"))
                if known.get(entry.path) == mark and local.exists() and local.stat().st_size == entry.size:
                    continue
                local.parent.mkdir(parents=True, exist_ok=True)
                _fetch_file(source, entry, local)
                known[entry.path] = mark
                record.write_text(json.dumps(known))
    except OSError as error:
        raise StorageError(f"model {uri!r}: cannot be fetched: {error}") from error
    return target


def _fetch_file(source: Storage, entry: Entry, local: Path) -> None:
    partial = local.with_name(local.name + ".part")
    source.fetch(entry.path, partial)
    fetched = partial.stat().st_size
    if fetched != entry.size:
        raise StorageError(f"{source.full(entry.path)}: fetched {fetched} of {entry.size} bytes")
    partial.replace(local)


def read_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's config.json; InputError where there is none or it is no JSON object."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{folder}: no config.json; this is not a checkpoint of transformers") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object")
    return config


def architecture(folder: Path, accepted: Iterable[str]) -> str:
    """The one of the accepted architectures that config.json names; InputError where it names another."""
    accepted = list(accepted)
    named = read_config(folder).get("architectures") or []
    for name in named:
        if name in accepted:
            return str(name)
    raise InputError(
        f"{folder}: config.json names the architecture {', '.join(named) or 'none'}; "
        f"expected {' or '.join(accepted)}"
    )


def load_whole(
    cls: Any, folder: Path, *, pickled: bool = False, not_read: Collection[str] = (), **options: Any
) -> Any:
    """`cls.from_pretrained` of safetensors; InputError that names the weights that are missing or of another
    shape, or says why it cannot be loaded.

    A weight that the class has no place for is told by transformers and left out: published checkpoints hold
    parts of other tasks, and only their class knows which of them matter. pickled: pytorch_model.bin may
    stand in for them; not_read: last parts of the names of weights that may be missing, because answering
    does not use them.
    """
    safe = weight_files(folder, pickled)[0].suffix == ".safetensors"
    try:
        # Without a shape's error, so that it can be told which weight it is.
        model, info = cls.from_pretrained(
            folder,
            use_safetensors=safe,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except UnpicklingError:
        # Its message advises to run what the file holds.
        raise InputError(f"{folder}: cannot be loaded: {_PICKLED} holds more than tensors") from None
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(f"{folder}: cannot be loaded: {error}") from error
    absent = sorted(name for name in info["missing_keys"] if name.rpartition(".")[2] not in not_read)
    if absent:
        shown = ", ".join(absent[:20]) + (" ..." if len(absent) > 20 else "")
        raise InputError(f"{folder}: {len(absent)} weights are not in the checkpoint: {shown}")
    if misfits := sorted(info["mismatched_keys"]):
        shown = ", ".join(
            f"{name} is {list(given)}, expected {list(wanted)}" for name, given, wanted in misfits[:20]
        )
        raise InputError(f"{folder}: {len(misfits)} weights have another shape: {shown}")
    return model


def weight_files(folder: Path, pickled: bool = False) -> list[Path]:
    """The safetensors files that the checkpoint needs; InputError names those that are not there.

    pickled: where there are none, pytorch_model.bin.
    """
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        absent = [name for name in names if not (folder / name).exists()]
        if absent:
            raise InputError(f"{folder}: weights are missing: {', '.join(absent)}")
        return [folder / name for name in names]
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if (folder / _PICKLED).exists():
        if pickled:
            return [folder / _PICKLED]
        raise InputError(
            f"{folder}: no model.safetensors; only the safetensors format is loaded without consent, and "
            f"{_PICKLED} is a pickle; name a revision with safetensors (the hub converts to one as "
            "refs/pr/NUMBER), or consent with pickled_weights where the expert has that key"
        )
    raise InputError(f"{folder}: no model.safetensors; only the safetensors format is loaded")


def memory_gib(folder: Path, pickled: bool = False) -> float:
    """About what the model needs on the device: its weights, and a quarter more for prompts and answers."""
    return sum(path.stat().st_size for path in weight_files(folder, pickled)) * 1.25 / _GIB


def revision_of(folder: Path, pickled: bool = False) -> str:
    """The hub commit of a snapshot of the hub's cache, else a hash of names, sizes and configuration."""
    return folder.name if folder.parent.name == "snapshots" else f"local-{content_of(folder, pickled)}"


def content_of(folder: Path, pickled: bool = False) -> str:
    """A hash of the checkpoint's configuration and weights (names, sizes, first MiB), wherever it lies."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weight_files(folder, pickled):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(1 << 20))
    return digest.hexdigest()[:12]


def missing_model(settings: ModelSettings, accepted: Iterable[str] | None) -> list[str]:
    """What keeps this checkpoint from running here, one line each; reads names and sizes, loads nothing.

    accepted: architectures, or None for any causal language model.
    """
    lines = [] if settings.device == "cpu" else _missing_cuda(settings.gpus)
    for model in filter(None, (settings.model, settings.adapter)):
        if not Path(model).expanduser().is_dir():
            lines += _missing_remote(model, settings.revision)
            continue
        folder = Path(model).expanduser()
        if model == settings.adapter and model != settings.model:
            lines += [
                f"adapter {folder}: {name} is missing"
                for name in ("adapter_config.json", "adapter_model.safetensors")
                if not (folder / name).exists()
            ]
            continue
        try:
            if accepted is not None:
                architecture(folder, accepted)
            else:
                read_config(folder)
            needed = memory_gib(folder)
        except InputError as error:
            lines.append(str(error))
            continue
        free = _free_gib(settings)
        if free is not None and needed > free:
            lines.append(
                f"{folder}: needs about {needed:.1f} GiB on {settings.device}, {free:.1f} GiB are free"
            )
    return lines


def missing_classifier(
    settings: "ClassifierSettings", medium: "Medium", labels: Mapping[str, str | None]
) -> list[str]:
    """What keeps this classifier from running here, one line each; reads names and sizes, loads no weights.

    labels: what the configuration calls its classes.
    """
    from emo.engines.classification import check_labels, class_names

    lines = [] if settings.device == "cpu" else _missing_cuda(1)
    folder = Path(settings.model).expanduser()
    if not folder.is_dir():
        return [*lines, *_missing_remote(settings.model, settings.revision)]
    try:
        check_labels(class_names(folder, medium), labels)
        weight_files(folder, settings.pickled_weights)
    except InputError as error:
        lines.append(str(error))
    return lines


def _missing_cuda(gpus: int) -> list[str]:
    import torch

    if not torch.cuda.is_available():
        return ["device is 'cuda', but torch sees no CUDA device; set device to 'cpu' to run without one"]
    count = torch.cuda.device_count()
    return [] if count >= gpus else [f"gpus is {gpus}, but torch sees {count}"]


def _free_gib(settings: ModelSettings) -> float | None:
    if settings.device == "cpu":
        import psutil

        return float(psutil.virtual_memory().available) / _GIB
    import torch

    if not torch.cuda.is_available():
        return None
    count = min(settings.gpus, torch.cuda.device_count())
    return sum(torch.cuda.mem_get_info(number)[0] for number in range(count)) / _GIB


def _missing_remote(model: str, revision: str | None) -> list[str]:
    if is_s3(model):
        try:
            found = Storage(model, s3_in_use()).is_there()
        except EmoError as error:
            return [f"{model}: cannot be listed: {error}"]
        return [] if found else [f"{model}: no objects under this prefix"]
    if Path(model).is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        return [f"{model}: no such folder"]
    from huggingface_hub import HfApi, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str):
        return []
    try:
        HfApi().model_info(model, revision=revision, timeout=10)
    except Exception as error:  # the hub's client has many ways to say no
        why = f"not in the local cache, and the hub cannot be asked: {type(error).__name__}"
        return [f"{model}: {why}; {_ELSEWHERE}"]
    return []
