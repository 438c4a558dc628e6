"""Handing labels on: one file per format, and the registry that names them."""

from emo.export.protocol import Exporter
from emo.registry import Registry

REGISTRY = Registry[Exporter](
    "exporter",
    Exporter,
    {
        "huggingface": "emo.export.huggingface:HuggingFace",
        "label-studio": "emo.export.label_studio:LabelStudio",
        "fiftyone": "emo.export.fiftyone:FiftyOne",
        "csv": "emo.export.spreadsheet:Csv",
        "ms-swift": "emo.export.ms_swift:MsSwift",
        "ms-swift-images": "emo.export.ms_swift:MsSwiftImages",
        "mer": "emo.export.mer:Mer",
        "merr": "emo.export.merr:Merr",
    },
)
