"""Labels from descriptions: the extractors, and the registry that names them."""

from emo.extraction.protocol import Extractor
from emo.registry import Registry

REGISTRY = Registry[Extractor](
    "extractor",
    Extractor,
    {
        "model": "emo.extraction.model:ModelExtractor",
        "openai": "emo.extraction.model:ServerExtractor",
        "rules": "emo.extraction.by_rules:RulesExtractor",
    },
)
extractor_class = REGISTRY.named
settings_of = REGISTRY.settings
load = REGISTRY.make
