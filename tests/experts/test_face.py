"""The face expert: where a face is, whether it smiles and moves, and pictures without one."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from emo.experts import face
from emo.extraction.rules import extract
from emo.media.faces import FaceFinder, NetworkFinder
from signal_clips import clip, jpeg, sample, text_of


def test_the_portrait_has_a_smiling_face_in_every_frame() -> None:
    for video_id in ("portrait_welcome", "portrait_silent", "portrait_tall_zh"):
        text = text_of("face", sample(video_id))
        assert "found in 8 of 8 frames" in text
        assert "It smiles in 8 of the 8 frames" in text
        assert extract(text) == ["happy", "amused"]


def test_a_scene_without_people_has_no_face_and_gets_no_emotion() -> None:
    text = text_of("face", sample("sea_at_dusk"))
    assert "No face was found in 8 frames" in text
    assert extract(text) == []


def test_a_face_without_a_recognised_smile_supports_nothing() -> None:
    for video_id in ("drawn_angry", "drawn_sad_zh"):
        text = text_of("face", sample(video_id))
        assert "No smile was recognised" in text
        assert extract(text) == []


def test_teeth_in_a_mouth_that_is_not_drawn_wide_are_no_smile() -> None:
    """The portrait's smile, pushed together from the sides: the teeth stay, the corners come closer."""
    portrait = np.asarray(Image.open(io.BytesIO(sample("portrait_silent").frames[4])).convert("RGB"))
    found = FaceFinder().largest(np.asarray(Image.fromarray(portrait).convert("L")))
    assert found is not None
    y, x = np.mgrid[: portrait.shape[0], : portrait.shape[1]].astype(np.float32)
    aside, below = x - found.x - 0.5 * found.side, y - found.y - 0.78 * found.side
    near = np.exp(-((aside / (0.32 * found.side)) ** 4) - (below / (0.22 * found.side)) ** 4)
    bared = cv2.remap(portrait, (x + near * aside * (1 / 0.7 - 1)).astype(np.float32), y, cv2.INTER_LINEAR)

    grey = cv2.cvtColor(bared, cv2.COLOR_RGB2GRAY)
    face_of_it = FaceFinder().largest(grey)
    assert face_of_it is not None
    assert (FaceFinder().smile(grey, face_of_it) or 0) > 3 * face._SMILE_HITS, "the cascade still sees one"
    for picture, labels in ((portrait, ["happy", "amused"]), (bared, [])):
        text = text_of("face", clip(frames=(jpeg(picture),), frame_times=(0.0,)))
        assert extract(text) == labels


def test_a_mouth_is_as_wide_in_a_large_a_small_and_a_mirrored_picture_and_has_no_width_without_a_face() -> (
    None
):
    portrait = Image.open(io.BytesIO(sample("portrait_silent").frames[4])).convert("RGB")
    finder, widths = NetworkFinder(), []
    for picture in (
        portrait,
        portrait.resize((portrait.width * 2, portrait.height * 2)),
        ImageOps.mirror(portrait),
    ):
        pixels = np.asarray(picture)
        found = FaceFinder().largest(np.asarray(picture.convert("L")))
        assert found is not None
        widths.append(finder.mouth_width(pixels, found))
        assert finder.mouth_width(np.full_like(pixels, 128), found) is None
    assert widths == [pytest.approx(widths[0], rel=0.06)] * 3


def test_the_face_is_found_where_it_is_and_a_mirrored_picture_mirrors_it() -> None:
    grey = np.asarray(Image.open(io.BytesIO(sample("portrait_welcome").frames[4])).convert("L"))
    finder = FaceFinder()
    found, mirrored = finder.largest(grey), finder.largest(np.ascontiguousarray(grey[:, ::-1]))
    assert found is not None
    assert mirrored is not None
    assert (found.view, mirrored.view) == ("frontal", "frontal")
    assert mirrored.x + mirrored.side / 2 == pytest.approx(
        grey.shape[1] - found.x - found.side / 2, abs=0.1 * found.side
    )
    assert mirrored.side == pytest.approx(found.side, rel=0.15)
    assert finder.smile(grey, found) > face._SMILE_HITS
    upside_down = np.ascontiguousarray(grey[::-1])
    assert finder.largest(upside_down) is None


def test_a_face_that_crosses_the_picture_moves_much_and_a_still_one_hardly() -> None:
    portrait = np.asarray(Image.open(io.BytesIO(sample("portrait_silent").frames[3])))
    moved = tuple(jpeg(np.roll(portrait, 50 * step, axis=1)) for step in range(4))
    still = (jpeg(portrait),) * 4
    assert "moves much" in text_of("face", clip(frames=moved, frame_times=(0.0, 1.0, 2.0, 3.0)))
    assert "hardly moves (0.00" in text_of("face", clip(frames=still, frame_times=(0.0, 1.0, 2.0, 3.0)))


def test_a_face_too_small_for_its_smile_is_said_to_be_so() -> None:
    portrait = Image.open(io.BytesIO(sample("portrait_silent").frames[7]))
    canvas = Image.new("RGB", (320, 240), (120, 130, 140))
    canvas.paste(portrait.resize((112, 84)), (100, 80))
    text = text_of("face", clip(frames=(jpeg(np.asarray(canvas)),), frame_times=(0.0,)))
    assert "too small" in text
    assert extract(text) == []


@pytest.mark.parametrize("turn", [0, 20, -25])
@pytest.mark.parametrize("margin", [0.04, 0.3])
def test_a_plain_face_is_found_cropped_tightly_and_tilted(turn: float, margin: float) -> None:
    """The face fills the picture, as in collections of faces: the cascades alone miss most of these."""
    portrait = Image.open(io.BytesIO(sample("portrait_silent").frames[4])).convert("RGB")
    found = FaceFinder().largest(np.asarray(portrait.convert("L")))
    assert found is not None
    middle = (found.x + found.side / 2, found.y + found.side / 2)
    reach = (0.5 + margin) * found.side
    turned = portrait.rotate(turn, Image.Resampling.BICUBIC, center=middle, fillcolor=(90, 90, 90))
    cropped = turned.crop(
        [round(v) for v in (middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach)]
    )
    text = text_of("face", clip(frames=(jpeg(np.asarray(cropped)),), frame_times=(0.0,)))
    assert "A face was found in 1 of 1 frame" in text


def test_a_picture_of_a_few_pixels_has_no_face() -> None:
    tiny = jpeg(np.zeros((3, 5, 3), np.uint8))
    assert "No face was found in 1 frame." in text_of("face", clip(frames=(tiny,), frame_times=(0.0,)))
