from hypothesis import given
from hypothesis import strategies as st

from emo.finetuning.batching import Cursor, fingerprint, micro_batches, order, steps, steps_in
from emo.finetuning.schedule import learning_rate

COUNTS = st.integers(1, 60)


@given(COUNTS, st.integers(1, 20), st.integers(1, 3), st.integers(0, 5))
def test_an_epoch_uses_every_sample_once(count, batch, epochs, seed):
    plans = list(steps(count, batch, epochs, seed, None, Cursor()))
    assert len(plans) == steps_in(count, batch, epochs, None)
    used = [place for plan in plans for place in plan.samples]
    for epoch in range(epochs):
        assert sorted(used[epoch * count : (epoch + 1) * count]) == list(range(count))


@given(COUNTS, st.integers(1, 20), st.integers(1, 3), st.integers(0, 5), st.data())
def test_a_run_that_goes_on_from_any_step_makes_the_steps_that_were_left(count, batch, epochs, seed, data):
    plans = list(steps(count, batch, epochs, seed, None, Cursor()))
    cut = data.draw(st.integers(1, len(plans)))
    cursor = Cursor(**plans[cut - 1].after.as_dict())
    assert list(steps(count, batch, epochs, seed, None, cursor)) == plans[cut:]


def test_max_steps_ends_a_run_early_and_epochs_differ_in_order():
    assert len(list(steps(10, 3, 5, 0, 7, Cursor()))) == 7
    assert order(50, 0, 0) != order(50, 0, 1)
    assert order(50, 0, 0) == order(50, 0, 0)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40), st.integers(1, 5), st.integers(16, 2000))
def test_every_worker_gets_as_many_batches_and_each_sample_goes_to_one(lengths, workers, budget):
    shared = micro_batches(range(len(lengths)), lengths, workers, budget)
    assert len({len(batches) for batches in shared}) == 1
    batches = [batch for worker in shared for batch in worker]
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        if len(batch) > 1:
            assert len(batch) * max(lengths[place] for place in batch) <= budget


def test_a_worker_without_samples_gets_an_empty_batch():
    assert micro_batches([0], [10], 3, 100) == [[[0]], [[]], [[]]]


def test_a_short_step_is_split_before_a_worker_stays_without_samples():
    shared = micro_batches([0, 1, 2, 3], [10] * 4, 2, 1000)
    assert sorted(len(worker[0]) for worker in shared) == [2, 2]


def test_a_fingerprint_does_not_depend_on_the_order_and_changes_with_any_part():
    assert fingerprint(["a", "b"]) == fingerprint(["b", "a"])
    assert fingerprint(["a", "b"]) != fingerprint(["a", "c"])
    assert fingerprint(["ab", ""]) != fingerprint(["a", "b"])


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(1, 101)]
    assert rates[0] == 0.1
    assert max(rates) == rates[9] == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 1e-3
    assert abs(learning_rate(55, 99, 1.0, 0.1) - 0.5) < 1e-9
    assert [learning_rate(step, 2, 1.0, 0.03) for step in (1, 2)] == [1.0, 0.5], "both steps train"
    assert learning_rate(1, 10, 1.0, 0.0) < 1.0
