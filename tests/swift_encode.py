"""Run by the Python of ms-swift: what it trains on of each row of a file, as JSON on standard output.

MODEL TEMPLATE FILE; per row the number of tokens, and the text that counts in the loss.
"""

import json
import sys

from swift import get_processor, get_template, load_dataset


def main(model: str, kind: str, template: str, path: str) -> None:
    processor = get_processor(model, model_type=kind)
    made = get_template(processor, template_type=template)
    made.set_mode("train")
    rows, _ = load_dataset(path, load_from_cache_file=False)
    found = []
    for row in rows:
        encoded = made.encode(row)
        ids = list(encoded["input_ids"])
        trained = [token for token, label in zip(ids, encoded["labels"], strict=True) if label != -100]
        found.append({"tokens": len(ids), "trained": made.tokenizer.decode(trained)})
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
