"""Broken tables, subtitles and settings by the thousand, each through the reader that a command uses.

EMO_TEST_MUTANTS=2000 pytest tests/test_fuzz_tables.py is what a release should see; see `mutants` for more.
"""

import multiprocessing
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

import broken_tables
from mutants import COUNT, SEED

# What a small file may take, whatever the numbers in it claim.
MOST_S, MOST_MIB = 60, 1500


def reader():
    """A process of its own, so that a file that ends it is told by its number."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


@pytest.mark.long
@pytest.mark.timeout(120 + 2 * COUNT)
def test_every_broken_table_is_read_or_refused_with_one_line_and_memory_stays_flat(tmp_path):
    outcomes: Counter[str] = Counter()
    faults, memory = [], []
    pool = reader()
    for number in range(COUNT):
        folder = tmp_path / str(number)
        try:
            name, found, now, most = pool.submit(broken_tables.serve, number, SEED, folder).result(MOST_S)
        except (BrokenProcessPool, TimeoutError) as error:
            name, found, now, most = "", f"fault {type(error).__name__}", 0, 0
            for process in pool._processes.values():
                process.kill()
            pool = reader()
        if most > MOST_MIB:
            found = f"fault: {most} MiB of memory"
            pool.shutdown()
            pool = reader()
        if found.startswith("fault"):
            kind = broken_tables.KINDS[number % len(broken_tables.KINDS)].name
            faults.append(f"{number} {name or kind}: {found}")
        outcomes[found.partition(" ")[0]] += 1
        memory.append(now)
        shutil.rmtree(folder, ignore_errors=True)
    pool.shutdown()
    third = COUNT // 3
    middle, last = max(memory[third : 2 * third]), max(memory[2 * third :])
    figures = f"{COUNT} tables of seed {SEED}: {dict(outcomes.most_common())}; {middle} MiB, later {last} MiB"
    print(figures, *faults, sep="\n")
    assert not faults, figures
    assert outcomes["read"] > COUNT / 10, figures
    assert last < middle + 150, figures
