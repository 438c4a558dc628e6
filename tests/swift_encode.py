"""Run by the Python of ms-swift: what it makes of each row of a file, as JSON on standard output.

MODEL KIND TEMPLATE FILE MEDIA; MEDIA: the ids of media tokens. Per row the number of tokens, how many of them
are of media, and the text that counts in the loss; or why there is none.
"""

import json
import sys
from pathlib import Path
from typing import Any

from swift import get_processor, get_template, load_dataset


def _fit_small_vocabulary(template: Any) -> None:
    """Let it find what it knows by constants of the published checkpoints, which tiny ones do not have.

    Otherwise it leaves one token of a medium in place of all.
    """
    for mark in template.placeholder_tokens:
        text = template.tokenizer.convert_ids_to_tokens(mark)
        for name in ("image", "video"):
            if name in text.lower() and hasattr(template, f"{name}_token_id"):
                setattr(template, f"{name}_token_id", mark)
    # The checkpoint is the thinker of Omni alone.
    if "omni" in template.template_meta.template_type:
        template.config.thinker_config = template.config


def main(model: str, kind: str, template: str, path: str, media: str) -> None:
    processor = get_processor(model, model_type=kind)
    made = get_template(processor, template_type=template)
    made.set_mode("train")
    _fit_small_vocabulary(made)
    of_media = set(json.loads(media))
    found = []
    for number, line in enumerate(Path(path).read_text().splitlines()):
        # A row in a file of its own: columns of one file have one type there.
        one = Path(f"{path}-{number}.jsonl")
        one.write_text(f"{line}\n")
        try:
            rows, _ = load_dataset(str(one), load_from_cache_file=False)
            encoded = made.encode(rows[0])
        except Exception as error:  # whatever it raises of a row
            found.append({"refused": f"{type(error).__name__}: {error}"[:300]})
            continue
        ids = list(encoded["input_ids"])
        trained = [token for token, label in zip(ids, encoded["labels"], strict=True) if label != -100]
        found.append(
            {
                "tokens": len(ids),
                "media": sum(token in of_media for token in ids),
                "trained": made.tokenizer.decode(trained),
            }
        )
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
