"""The training step on real processes: torch.distributed over gloo, DeepSpeed, a tiny InternVL."""

import gc
import importlib
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import checkpoints
from conftest import free_port
from training_bench import BATCH, RATE, SAMPLES, STEPS, Bench


def _work(
    rank: int, workers: int, port: int, base: str, folder: str, what: str, env: Mapping[str, str]
) -> None:
    # What this process shares with the one that it was forked from stays shared.
    gc.freeze()
    # Whoever saved a model has imported it, in another environment.
    for name in [name for name in sys.modules if name.partition(".")[0] == "deepspeed"]:
        del sys.modules[name]
    os.environ.update(
        env, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(workers), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), DS_ACCELERATOR="cpu",
    )  # fmt: skip
    import torch.distributed as dist

    from emo.finetuning.engine import initialise_communication

    dist.init_process_group("gloo")
    initialise_communication("cpu")
    found = globals()[what](Path(base), Path(folder), workers, rank)
    if rank == 0:
        Path(folder, f"{what}-{workers}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


# What a worker imports before it does anything, but for DeepSpeed.
IMPORTS = [
    *("torch", "transformers", "transformers.models.auto.modeling_auto", "peft"),
    *("transformers.models.auto.processing_auto", "torch._inductor.compile_fx"),
    *("emo.engines.transformers_engine", "emo.experts.hf", "emo.finetuning.engine"),
    *("emo.finetuning.masking", "emo.finetuning.model"),
]


def on_workers(count: int, what: str, base: Path, folder: Path, **env: str):
    """Run one of the functions below on so many real processes; what the first returned.

    They import DeepSpeed anew, with these variables. All else they have from this process, of which they are
    forks: it would take each of them seconds of processor time.
    """
    import torch

    for module in IMPORTS:
        importlib.import_module(module)
    # A process that may have used a GPU cannot be forked.
    context = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
    port = free_port()
    started = [
        context.Process(target=_work, args=(rank, count, port, str(base), str(folder), what, env))
        for rank in range(count)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(200)
        if process.is_alive():
            process.kill()
            process.join()
    assert [process.exitcode for process in started] == [0] * count
    return json.loads(Path(folder, f"{what}-{count}.json").read_text())


def curves(base, folder, workers, rank):
    """The losses of some steps under every stage that `saved` does not train under, and variants of one."""
    from emo.finetuning.batching import Cursor

    found = {}
    for name, options in {
        "1": {"zero": 1},
        "2-checkpointing": {"zero": 2, "gradient_checkpointing": True},
        "2-bfloat16": {"zero": 2, "precision": "bfloat16"},
        "2-wide-batches": {"zero": 2, "budget": 5000},
    }.items():
        bench = Bench(base, workers, rank, **options)
        bench.start()
        found[name] = []
        bench.train(Cursor(), found[name])
    return found


def saved(base, folder, workers, rank):
    """Train half of the steps under every stage, save, and go on undisturbed."""
    import torch.distributed as dist

    from emo.finetuning.batching import Cursor
    from emo.finetuning.state import State

    found = {}
    for zero in (0, 2, 3):
        bench = Bench(base, workers, rank, zero=zero)
        bench.start()
        history = []
        cursor = bench.train(Cursor(), history, until=4)
        target = folder / f"zero-{zero}"
        target.mkdir(exist_ok=True)
        probe = bench.engine.evaluate(bench.batches(range(4)))
        bench.engine.save(target)
        if rank == 0:
            State(cursor, workers, probe, [{"loss": loss} for loss in history]).write(target)
        dist.barrier()
        bench.train(cursor, history)
        found[str(zero)] = history
    weights = bench.engine.weights()
    found["gathered"] = [list(value.shape) for value in weights.values()]
    return found


def loaded(base, folder, workers, rank):
    """Go on from each of those checkpoints, whatever the number of workers."""
    import torch.distributed as dist

    from emo.errors import EmoError
    from emo.finetuning.engine import to_universal
    from emo.finetuning.state import read_state

    found = {}
    for zero in (0, 2, 3):
        source = folder / f"zero-{zero}"
        state = read_state(source)
        other = state.workers != workers
        if other:
            target = folder / f"zero-{zero}-universal"
            if rank == 0:
                to_universal(source, target, zero)
            dist.barrier()
            source = target
        bench = Bench(base, workers, rank, zero=zero)
        bench.start(universal=other and zero > 0)
        probe = bench.batches(range(4))
        try:
            bench.engine.check_probe(probe, state.probe)
            found[f"{zero}-unrestored"] = "no error"
        except EmoError as error:
            found[f"{zero}-unrestored"] = str(error)
        bench.engine.load(source)
        bench.engine.check_probe(probe, state.probe)
        history = [row["loss"] for row in state.history]
        bench.train(state.cursor, history)
        found[str(zero)] = history
    return found


def with_duplex(base, folder, workers, rank):
    """Half of the steps with duplex attention, saved; the rest, and once more from there; two stages."""
    import torch.distributed as dist

    from emo.finetuning.batching import Cursor

    found = {}
    for zero in (2, 3):
        options = {"zero": zero, "attention_module": "moda"}
        bench = Bench(base, workers, rank, **options)
        bench.start()
        history = []
        cursor = bench.train(Cursor(), history, until=4)
        target = folder / f"duplex-{zero}"
        target.mkdir(exist_ok=True)
        probe = bench.engine.evaluate(bench.batches(range(4)))
        bench.engine.save(target)
        dist.barrier()
        bench.train(cursor, history)
        again = Bench(base, workers, rank, **options)
        again.start()
        again.engine.load(target)
        again.engine.check_probe(again.batches(range(4)), probe)
        resumed = history[:4]
        again.train(cursor, resumed)
        weights = again.engine.weights()
        found[str(zero)] = {
            "losses": history,
            "resumed": resumed,
            "added": [[*v.shape, float(v.abs().max())] for n, v in weights.items() if ".duplex." in n],
        }
    return found


def all_of_two(base, folder, workers, rank):
    """Everything that needs two workers, on one pair of processes, which are slow to start."""
    return {
        "curves": curves(base, folder, workers, rank),
        "saved": saved(base, folder, workers, rank),
        "loaded": loaded(base, folder, workers, rank),
        "duplex": with_duplex(base, folder, workers, rank),
    }


def all_of_one(base, folder, workers, rank):
    """Everything that needs one worker."""
    return {
        "step": one_step(base, folder, workers, rank),
        "loaded": loaded(base, folder, workers, rank),
    }


def one_step(base, folder, workers, rank):
    """A single step, and what a loss that is no number does to the weights: nothing."""
    import torch

    from emo.finetuning.batching import Cursor
    from emo.finetuning.engine import NotANumberError

    bench = Bench(base, workers, rank)
    bench.start()
    history = []
    bench.train(Cursor(), history, until=1)
    before = bench.engine.weights()
    spoilt = bench.batches(range(3))
    embedding = bench.model.model.get_base_model().get_input_embeddings().weight
    kept = embedding.detach().clone()
    embedding.data.fill_(float("nan"))
    try:
        bench.engine.step(spoilt, RATE, 0)
    except NotANumberError:
        embedding.data.copy_(kept)
        after = bench.engine.weights()
        assert all(torch.equal(before[name], after[name]) for name in before)
        return history
    raise AssertionError("a loss that is no number went through")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.make_internvl(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def two(base, folder):
    return on_workers(2, "all_of_two", base, folder)


@pytest.fixture(scope="module")
def one(base, folder, two):
    """Without a compiler: DeepSpeed would build its shared-memory kernels for CPUs at first use."""
    tools = folder / "bin"
    tools.mkdir()
    for name in ("env", "sh", "uname", "ldconfig"):
        if (found := shutil.which(name)) is not None:
            (tools / name).symlink_to(found)
    assert shutil.which("g++", path=str(tools)) is None
    # These three are all that finds one.
    without = {
        "PATH": str(tools),
        "CXX": "no-such-compiler",
        "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
    }
    return on_workers(1, "all_of_one", base, folder, **without)


def bare_loop(base):
    """The same steps in plain PyTorch: what every stage has to agree with."""
    import torch

    from emo.finetuning.batching import Cursor, steps
    from emo.finetuning.loss import loss_sum, on_device
    from emo.finetuning.schedule import learning_rate

    bench = Bench(base, 1, 0, budget=10_000)
    model = bench.model.model.train()
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=bench.settings.weight_decay)
    losses = []
    for plan in steps(SAMPLES, BATCH, 3, 0, STEPS, Cursor()):
        (batch,) = bench.batches(plan.samples)
        inputs, labels = on_device(batch, bench.encoder.preprocessor, torch.device("cpu"), torch.float32)
        output = model.get_base_model().get_output_embeddings()
        loss = loss_sum(model, output, inputs, labels) / batch.trained
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, bench.settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan.after.step, STEPS, RATE, 0.1)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_every_stage_on_two_workers_gives_the_losses_of_a_bare_loop(base, two):
    expected = bare_loop(base)
    assert expected[-1] < expected[0]
    two = two["curves"] | two["saved"]
    for name in ("0", "1", "2", "3", "2-checkpointing", "2-wide-batches"):
        assert two[name] == pytest.approx(expected, abs=1e-3), name
    assert two["2-bfloat16"] == pytest.approx(expected, rel=0.1)


def test_weights_are_whole_also_when_they_are_partitioned(two):
    gathered = two["saved"]["gathered"]
    assert len(gathered) == 28
    assert all(len(shape) == 2 and min(shape) > 0 for shape in gathered)


def test_a_checkpoint_goes_on_with_any_number_of_workers_as_if_nothing_had_happened(two, one):
    for zero in ("0", "2", "3"):
        undisturbed = two["saved"][zero]
        assert two["loaded"][zero] == pytest.approx(undisturbed, abs=1e-6), zero
        assert one["loaded"][zero] == pytest.approx(undisturbed, abs=1e-3), zero
        for found in (two["loaded"], one["loaded"]):
            assert "was not restored" in found[f"{zero}-unrestored"]


def test_training_on_a_cpu_needs_no_compiler_and_a_loss_that_is_no_number_changes_nothing(one, folder):
    assert len(one["step"]) == 1
    assert not list(folder.glob("extensions/**/*.so"))


def test_duplex_attention_is_partitioned_gathered_and_restored_as_the_lora_is(two):
    found = two["duplex"]
    for one in found.values():
        assert one["resumed"] == pytest.approx(one["losses"], abs=1e-4)
        assert one["losses"][-1] < one["losses"][0]
        assert one["losses"] == pytest.approx(found["2"]["losses"], abs=1e-3)
        assert [shape for *shape, _ in one["added"]] == [[2, 16, 8]] * 4
        assert all(largest > 0 for *_, largest in one["added"])
