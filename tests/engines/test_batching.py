import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emo.engines.batching import Budget, Load, is_out_of_memory, next_chunk
from emo.engines.feed import Feed
from emo.engines.sampling import NOT_A_NUMBER, Sampling, pick, row_seed, row_uniforms
from emo.errors import RowError

CANDIDATES = st.lists(
    st.tuples(st.integers(1, 500), st.integers(1, 5), st.integers(1, 200)), min_size=1, max_size=20
)


@given(
    candidates=CANDIDATES,
    held=st.integers(1, 5000),
    prefill=st.integers(1, 3000),
    rows=st.integers(0, 5),
    longest=st.integers(1, 600),
)
def test_a_chunk_keeps_both_budgets_unless_it_is_one_prompt_alone(candidates, held, prefill, rows, longest):
    active = Load(rows, longest if rows else 0, 10 if rows else 0)
    taken = next_chunk(candidates, active, Budget(held, prefill))
    load = active
    for length, samples, limit in candidates[:taken]:
        load = load.with_rows(samples, length, limit)
    width = max((length for length, _, _ in candidates[:taken]), default=0)
    if rows == 0:
        assert taken >= 1, "the first prompt always goes where nothing else is held"
    if taken > (1 if rows == 0 else 0):
        assert load.tokens <= held
    if taken > 1:
        assert taken * width <= prefill


@given(candidates=CANDIDATES, held=st.integers(1, 5000), prefill=st.integers(1, 3000))
def test_a_larger_budget_never_takes_less(candidates, held, prefill):
    small = next_chunk(candidates, Load(), Budget(held, prefill))
    assert next_chunk(candidates, Load(), Budget(2 * held, 2 * prefill)) >= small


def test_a_budget_halves_and_never_reaches_zero():
    budget = Budget(1000, 1000)
    budget.after_prefill_failure(600)
    budget.after_cache_failure(5000)
    assert budget == Budget(held=500, prefill=300)
    for _ in range(20):
        budget.after_prefill_failure(1)
        budget.after_cache_failure(1)
    assert budget == Budget(1, 1)


def test_memory_that_runs_out_on_a_cpu_is_recognised_and_other_errors_are_not():
    with pytest.raises(RuntimeError) as full:
        torch.empty(1 << 60)
    assert is_out_of_memory(full.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as other:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_out_of_memory(other.value)


def test_draws_follow_the_models_probabilities():
    torch.manual_seed(0)
    logits = torch.randn(1, 12).expand(20_000, -1)
    drawn = pick(logits, row_uniforms(3, 20_000), Sampling(temperature=1.0), None)
    found = torch.bincount(drawn, minlength=12) / 20_000
    assert torch.allclose(found, torch.softmax(logits[0], 0), atol=0.012)


def test_the_nucleus_leaves_out_the_tail_and_keeps_the_proportions_of_the_rest():
    probabilities = torch.tensor([0.05, 0.5, 0.1, 0.3, 0.05])
    logits = probabilities.log().expand(20_000, -1)
    drawn = pick(logits, row_uniforms(4, 20_000), Sampling(temperature=1.0, top_p=0.75), None)
    found = torch.bincount(drawn, minlength=5) / 20_000
    assert torch.allclose(found, torch.tensor([0, 0.625, 0, 0.375, 0]), atol=0.012)


@settings(max_examples=50)
@given(uniform=st.floats(0, 1, exclude_max=True), top_p=st.floats(0.01, 1.0))
def test_a_token_without_probability_is_never_drawn(uniform, top_p):
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 2.0, -torch.inf]])
    token = pick(logits, torch.tensor([uniform], dtype=torch.float64), Sampling(1.0, top_p), None)
    assert int(token) in (1, 3)


def test_zero_temperature_takes_the_likeliest_and_nan_is_marked():
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, torch.nan, 1.0]])
    for temperature in (0.0, 1.0):
        picked = pick(logits, torch.tensor([0.5, 0.5]).double(), Sampling(temperature), None)
        assert picked[1] == NOT_A_NUMBER
    assert pick(logits, torch.zeros(2).double(), Sampling(), None)[0] == 1


def test_seeds_depend_on_each_of_their_parts():
    seeds = {
        row_seed(0, "a", "b", 0),
        row_seed(1, "a", "b", 0),
        row_seed(0, "ab", "", 0),
        row_seed(0, "a", "c", 0),
        row_seed(0, "a", "b", 1),
    }
    assert len(seeds) == 5
    assert torch.equal(row_uniforms(7, 5), row_uniforms(7, 9)[:5])


def test_a_feed_prepares_ahead_in_order_and_not_without_end():
    begun = []
    gate = threading.Event()

    def prepare(task):
        begun.append(task)
        gate.wait(5)
        return task * 10

    feed = Feed(prepare, range(50), workers=4, ahead=8)
    time.sleep(0.05)
    assert sorted(begun) == [0, 1, 2, 3], "four threads, and they wait"
    assert feed.ready() == 0
    gate.set()
    taken = []
    while len(feed):
        task, result = feed.peek(0)
        assert result == task * 10
        taken.append(task)
        feed.drop(0)
        assert max(begun) <= task + 1 + 8, "at most eight ahead of what was taken"
    assert taken == list(range(50))
    feed.close()


def test_a_feed_gives_errors_as_results_and_goes_on():
    def prepare(task):
        if task == 1:
            raise RowError("bad_frames", "no")
        if task == 2:
            raise ZeroDivisionError("odd")
        return task

    feed = Feed(prepare, range(4), workers=2)
    results = []
    while len(feed):
        results.append(feed.peek(0)[1])
        feed.drop(0)
    feed.close()
    assert [results[0], results[3]] == [0, 3]
    assert [results[1].code, results[2].code] == ["bad_frames", "not_prepared"]
    assert "ZeroDivisionError: odd" in results[2].message


def test_a_feed_counts_the_time_of_waiting():
    feed = Feed(lambda task: time.sleep(0.1), [1], workers=1)
    feed.peek(0)
    assert feed.waited_s == pytest.approx(0.1, abs=0.05)
    time.sleep(0.05)
    before = feed.waited_s
    feed.peek(0)
    assert feed.waited_s - before < 0.01
    feed.close()


def test_tasks_that_are_put_back_come_first():
    feed = Feed(lambda task: task, [5, 6], workers=1)
    feed.put_back([2, 1])
    order = []
    while len(feed):
        order.append(feed.peek(0)[0])
        feed.drop(0)
    feed.close()
    assert order == [1, 2, 5, 6]
