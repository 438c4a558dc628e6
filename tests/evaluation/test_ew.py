import csv
import json
import shutil

import openpyxl
import pytest

from emo.errors import InputError
from emo.evaluation.ew import ew
from emo.evaluation.wheels import WHEELS, load_wheels


@pytest.fixture(scope="module")
def tables(wheels_folder):
    return load_wheels(wheels_folder)


@pytest.fixture(scope="module")
def tables_of_2025(wheels_folder, tmp_path_factory):
    """The folder as it was before its correction: "fear" also a form of "fearless"."""
    folder = tmp_path_factory.mktemp("wheels") / "2025"
    shutil.copytree(wheels_folder, folder)
    with (wheels_folder / "format.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    for row in rows:
        if row[0] == "fearless":
            row[1] += ",fear"
    with (folder / "format.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return load_wheels(folder)


def write_toy(folder):
    """A small invented set of tables in the layout of the benchmark."""
    folder.mkdir()
    (folder / "format.csv").write_text('name,format\nglad,"glad,gladly"\nlow,"low,lower"\ncheery,cheery\n')
    book = openpyxl.Workbook()
    book.active.append([f"{column}_run{run}" for run in range(1, 9) for column in ("word", "synonym")])
    book.active.append(["Glad", "cheery, merry"] * 8)
    book.active.append(["low", "[]"] * 8)
    book.save(folder / "synonym.xlsx")
    for wheel in WHEELS:
        book = openpyxl.Workbook()
        book.active.append(["level1", "level2", "level3"])
        book.active.append([" Joy ", "bright", "glad"])
        book.active.append([None, None, "merry"])
        book.active.append(["sorrow", "dark", "low"])
        book.save(folder / f"{wheel}.xlsx")
    return folder


def test_every_official_number_is_reproduced(tables, gold, voters, ovmerd):
    official = json.loads((ovmerd / "official_scores.json").read_text())
    assert len(official) == len(voters) == 17
    for voter, expected in official.items():
        result = ew(gold, voters[voter], tables)
        assert result.metric == "ew"
        for name, numbers in expected.items():
            for field, number in numbers.items():
                assert getattr(result.scores[name], field) == pytest.approx(number, abs=1e-9), (voter, name)


def test_the_average_of_ov_mer_is_over_twelve_mappings(tables, gold, voters):
    result = ew(gold, voters["chat-univi#0"], tables)
    assert len(result.parts) == 12
    by_hand = (5 * result.scores["level1"].f + 5 * result.scores["level2"].f) / 12
    by_hand += (result.scores["case1"].f + result.scores["case2"].f) / 12
    assert result.scores["m_avg"].f == pytest.approx(by_hand)


def test_the_tables_have_their_published_sizes_and_no_known_defect(tables):
    assert len(tables.forms) == 7356
    assert len(tables.synonyms) == 1255
    sizes = {wheel: len(set(tables.nodes[wheel]["level1"].values())) for wheel in WHEELS}
    assert sizes == {"wheel1": 6, "wheel2": 7, "wheel3": 6, "wheel4": 6, "wheel5": 6}
    assert tables.defects == ()


def test_the_fear_defect_of_the_older_tables_is_reported_and_changes_the_number(tables, tables_of_2025, gold):
    lands = {wheel: tables_of_2025.node("fear", wheel, "level1") for wheel in WHEELS}
    assert lands["wheel2"] == "happy"
    assert lands["wheel3"] == lands["wheel5"] == "joyful"
    assert lands["wheel4"] == "genius"
    assert {tables.node("fear", wheel, "level1") for wheel in WHEELS}.isdisjoint(
        {"happy", "joyful", "genius"}
    )

    frightened = {video_id: ["fear"] for video_id in gold}
    corrected, defective = ew(gold, frightened, tables), ew(gold, frightened, tables_of_2025)
    assert corrected.notes == ()
    (note,) = defective.notes
    assert "fear" in note
    assert "happy in wheel2" in note
    assert corrected.score.f != defective.score.f


def test_coverage_says_what_the_number_leaves_out(tables, gold, voters):
    result = ew(gold, voters["affectgpt#0"], tables)
    seen = result.coverage
    assert seen.clips == 166
    assert seen.gold.labels == sum(len(set(labels)) for labels in gold.values())
    assert 0 < seen.gold.unknown_labels == sum(seen.gold.unknown.values()) < seen.gold.labels
    assert 0 < seen.predicted.unknown_labels < seen.predicted.labels
    for name, part in result.parts.items():
        assert part.clips + seen.dropped[name] == 166
    assert seen.empty_predictions == sum(not labels for labels in voters["affectgpt#0"].values())


def test_a_clip_that_was_not_predicted_scores_zero_and_is_counted(tmp_path):
    tables = load_wheels(write_toy(tmp_path / "toy"))
    result = ew({"a": ["glad"], "b": ["low"]}, {"a": ["cheery"], "c": ["low"]}, tables)
    assert (result.score.p, result.score.r, result.score.clips) == (0.5, 0.5, 2)
    assert result.coverage.missing_predictions == 1
    assert result.coverage.extra_predictions == 1


def test_a_small_table_scores_as_computed_by_hand(tmp_path):
    tables = load_wheels(write_toy(tmp_path / "toy"))
    gold = {"a": ["Gladly ", "lower"], "b": ["glad"], "c": ["unheard of"]}
    predicted = {"a": ["cheery", "glad", "gobbledygook"], "b": [], "c": ["glad"]}
    result = ew(gold, predicted, tables)
    # a: {joy, sorrow} against {joy}: 1 and 1/2; b: nothing predicted: 0 and 0; c: its gold is unknown.
    assert (result.score.p, result.score.r) == (0.5, 0.25)
    assert result.score.f == pytest.approx(2 * 0.5 * 0.25 / 0.75)
    assert result.score.clips == 2
    assert result.scores["case1"].p == pytest.approx(0.25)  # a: {cheery, glad} holds one of {glad, low}
    assert result.coverage.gold.unknown == {"unheard of": 1}
    assert result.coverage.predicted.unknown == {"gobbledygook": 1}


def test_counting_unknown_labels_as_wrong_is_named_in_the_result(tmp_path):
    tables = load_wheels(write_toy(tmp_path / "toy"))
    gold, predicted = {"a": ["glad"]}, {"a": ["glad", "gobbledygook"]}
    assert ew(gold, predicted, tables).score.p == 1.0
    strict = ew(gold, predicted, tables, unknown="wrong")
    assert strict.score.p == 0.5
    assert strict.metric == "ew[unknown=wrong]"


def test_all_wrong_scores_zero_and_not_nan(tmp_path):
    tables = load_wheels(write_toy(tmp_path / "toy"))
    assert ew({"a": ["glad"]}, {"a": ["low"]}, tables).score.f == 0.0


@pytest.mark.parametrize("name", ["format.csv", "synonym.xlsx", "wheel3.xlsx"])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write_toy(tmp_path / "toy")
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        load_wheels(folder)


def test_a_folder_with_only_the_pickle_is_refused_with_the_reason(tmp_path):
    (tmp_path / "wheel_mapping.npz").write_bytes(b"x")
    with pytest.raises(InputError, match="pickle"):
        load_wheels(tmp_path)


def test_a_missing_column_is_named_with_its_file(tmp_path):
    folder = write_toy(tmp_path / "toy")
    book = openpyxl.Workbook()
    book.active.append(["level1", "level2"])
    book.save(folder / "wheel2.xlsx")
    with pytest.raises(InputError, match=r"wheel2\.xlsx has no column level3"):
        load_wheels(folder)


def test_an_empty_sheet_is_named(tmp_path):
    folder = write_toy(tmp_path / "toy")
    book = openpyxl.Workbook()
    book.active.append(["level1", "level2", "level3"])
    book.save(folder / "wheel4.xlsx")
    with pytest.raises(InputError, match=r"wheel4\.xlsx has no rows"):
        load_wheels(folder)


def test_a_file_that_is_no_workbook_is_named(tmp_path):
    folder = write_toy(tmp_path / "toy")
    (folder / "wheel5.xlsx").write_text("not a workbook")
    with pytest.raises(InputError, match=r"wheel5\.xlsx cannot be read"):
        load_wheels(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        load_wheels(tmp_path / "nowhere")


def test_an_empty_gold_set_is_refused(tmp_path):
    tables = load_wheels(write_toy(tmp_path / "toy"))
    with pytest.raises(InputError, match="gold set is empty"):
        ew({}, {"a": ["glad"]}, tables)


def test_gold_ids_that_match_nothing_are_refused_with_examples(tmp_path):
    tables = load_wheels(write_toy(tmp_path / "toy"))
    with pytest.raises(InputError, match=r"'gold_1'.*'clip_1'"):
        ew({"gold_1": ["glad"]}, {"clip_1": ["glad"]}, tables)


def test_gold_without_any_known_label_is_refused(tmp_path):
    tables = load_wheels(write_toy(tmp_path / "toy"))
    with pytest.raises(InputError, match="nothing to score"):
        ew({"a": ["unheard of"]}, {"a": ["glad"]}, tables)
