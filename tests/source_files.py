"""Files of sources for tests, and a look at what became of them."""


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def column(table, name):
    return table.column(name).to_pylist()
