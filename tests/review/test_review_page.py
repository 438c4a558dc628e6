"""The page in a real browser: Debian's chromium, driven by playwright."""

import os
import shutil
from urllib.parse import urlsplit

import pytest

from clips import make_clip
from emo.cli import main
from emo.review.consensus import read_reviews
from emo.store.storage import Storage
from review_outs import Judged, make_out
from review_server import review_server

playwright = pytest.importorskip("playwright.sync_api", reason="the extra test installs playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)"
)

# Each process of the browser takes longer to start than most of these tests.
_FEWER_PROCESSES = ("--disable-gpu", "--in-process-gpu", "--renderer-process-limit=1")
HTML = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>{{7*7}}"


@pytest.fixture(scope="module")
def _chromium():
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox needs rights that a container's root does not have.
        opened = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[*_FEWER_PROCESSES, *(["--no-sandbox"] if os.geteuid() == 0 else [])],
        )
        yield opened
        opened.close()


@pytest.fixture
def browser(_chromium):
    yield _chromium
    # A page that stays open goes on playing and asking.
    for context in _chromium.contexts:
        context.close()


def rows(out):
    return {row["video_id"]: row for row in read_reviews(Storage(str(out)))}


def enter(context, address):
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#main:not([hidden])")
    return page


def until(page, holds, arg=None):
    # Asked with every picture, as is usual, it would keep the browser drawing all the while.
    page.wait_for_function(holds, arg=arg, polling=50)


def shown(page):
    return page.inner_text("#name")


def after(page, key, before):
    """Press a key, and wait until another clip is shown."""
    page.keyboard.press(key)
    until(page, "before => document.getElementById('name').textContent !== before", arg=before)
    return shown(page)


def kept(page):
    return page.eval_on_selector_all(
        "#labels button[aria-pressed=true] span", "found => found.map((one) => one.textContent)"
    )


def until_kept(page, out, count):
    until(page, "() => JSON.parse(localStorage.getItem(OUTBOX) || '[]').length === 0")
    assert len(rows(out)) == count


def test_ten_clips_by_keyboard_with_undo_and_a_reload_in_the_middle(tmp_path, browser):
    out = tmp_path / "out"
    make_out(out, [Judged(f"clip {number}") for number in range(10)])
    with review_server(out, "--blind", "0", "--per-recording", "100") as running:
        page = enter(browser.new_context(), running.addresses["ann"])
        # The video plays.
        until(page, "() => document.getElementById('video').readyState >= 2")
        page.keyboard.press("r")
        page.keyboard.press("Space")
        until(page, "() => document.getElementById('video').currentTime > 0.1")

        first = shown(page)
        assert kept(page) == ["happy", "tired"]
        second = after(page, "Enter", first)

        # A label away and back by undo, another one away, one added from the list, one that is Chinese.
        page.keyboard.press("1")
        assert kept(page) == ["tired"]
        page.keyboard.press("z")
        assert kept(page) == ["happy", "tired"]
        page.keyboard.press("2")
        page.keyboard.press("a")
        page.keyboard.type("nerv")
        assert page.inner_text("#choices li:first-child").startswith("nervous")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.keyboard.type("开心")
        page.keyboard.press("ArrowDown")
        chosen = page.get_attribute("#choices li[aria-selected=true]", "data-word")
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        page.keyboard.type("zorbed")
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        assert kept(page) == ["happy", "nervous", "zorbed"]
        assert chosen
        third = after(page, "Enter", second)
        until_kept(page, out, 2)

        # Reloaded in the middle: the same clip, and nothing lost.
        page.reload()
        page.wait_for_selector("#main:not([hidden])")
        assert shown(page) == third
        page.keyboard.press("p")
        page.keyboard.press("c")
        page.keyboard.type("two people")
        page.keyboard.press("Escape")
        fourth = after(page, "Enter", third)
        page.keyboard.press("u")
        fifth = after(page, "Enter", fourth)

        # Back to the one before, which is answered anew.
        assert after(page, "b", fifth) == fourth
        assert page.is_checked("#unusable")
        page.keyboard.press("u")
        now = after(page, "Enter", fourth)
        # Skipped clips come at the end.
        now = after(page, "s", now)
        while page.is_visible("#main"):
            before = shown(page)
            page.keyboard.press("Enter")
            until(
                page,
                "before => document.getElementById('main').hidden || "
                "document.getElementById('name').textContent !== before",
                arg=before,
            )
        until_kept(page, out, 10)
        found = rows(out)
        assert found[first]["verdict"] == "accepted"
        assert (found[second]["labels"], found[second]["removed"]) == (
            ["happy", "nervous", "zorbed"],
            ["tired"],
        )
        assert (found[third]["several_people"], found[third]["comment"]) == (True, "two people")
        assert (found[fourth]["verdict"], found[fourth]["labels"]) == ("accepted", ["happy", "tired"])
        assert all(0 < row["seconds"] < 600 for row in found.values())
        until(page, "() => document.getElementById('quality').textContent.includes('random clips')")
        assert page.errors == []


def test_two_browsers_at_once_do_not_get_in_each_others_way(tmp_path, browser):
    out = tmp_path / "out"
    make_out(out, [Judged(f"clip {number}") for number in range(6)])
    with review_server(out, "--blind", "0", "--per-recording", "100", reviewers=("ann", "bob")) as running:
        pages = [enter(browser.new_context(), address) for address in running.addresses.values()]
        assert shown(pages[0]) != shown(pages[1])
        while any(page.is_visible("#main") for page in pages):
            for page in pages:
                if page.is_visible("#main"):
                    before = shown(page)
                    page.keyboard.press("Enter")
                    until(
                        page,
                        "before => document.getElementById('main').hidden || "
                        "document.getElementById('name').textContent !== before",
                        arg=before,
                    )
        for page in pages:
            until_kept(page, out, 6)
            assert page.errors == []
    assert {row["reviewer"] for row in rows(out).values()} == {"ann", "bob"}


def test_a_network_that_breaks_loses_no_answer(tmp_path, browser):
    out = tmp_path / "out"
    make_out(out, [Judged(f"clip {number}") for number in range(4)])
    with review_server(out, "--blind", "0", "--per-recording", "100") as running:
        context = browser.new_context()
        page = enter(context, running.addresses["ann"])
        until(page, "() => ahead !== null && document.getElementById('progress').textContent")
        before = shown(page)
        page.evaluate("() => ahead")
        context.set_offline(True)
        after(page, "Enter", before)
        until(page, "() => document.getElementById('message').textContent.includes('not kept yet')")
        assert rows(out) == {}
        context.set_offline(False)
        until_kept(page, out, 1)
        assert list(rows(out)) == [before]
        # Figures that are long in coming hold no answer back.
        held = []
        page.route("**/api/progress", lambda route: held.append(route))
        after(page, "Enter", after(page, "Enter", shown(page)))
        until_kept(page, out, 3)
        assert held
        page.unroute("**/api/progress")


def test_what_waits_in_a_browser_goes_to_its_own_out_and_person_alone(tmp_path, browser):
    """The same browser and the same address, where another server listens now."""
    outs = [tmp_path / name for name in ("one", "two")]
    for out in outs:
        make_out(out, [Judged(f"clip {number}") for number in range(2)])
    context = browser.new_context()
    with review_server(outs[0], "--blind", "0") as running:
        port = urlsplit(running.addresses["ann"]).port
        page = enter(context, running.addresses["ann"])
        until(page, "() => ahead !== null")
        page.evaluate("() => ahead")
        context.set_offline(True)
        waiting = shown(page)
        after(page, "Enter", waiting)
        running.kill()
    context.set_offline(False)
    for out, reviewer in ((outs[1], "ann"), (outs[0], "bob")):
        with review_server(out, "--blind", "0", "--port", str(port), reviewers=(reviewer,)) as running:
            page = enter(context, running.addresses[reviewer])
            until(page, "() => document.getElementById('progress').textContent")
        assert rows(out) == {}
    with review_server(outs[0], "--blind", "0", "--port", str(port)) as running:
        until_kept(enter(context, running.addresses["ann"]), outs[0], 1)
    assert list(rows(outs[0])) == [waiting]


def test_a_clip_that_is_forgotten_meanwhile_is_said_and_the_next_one_comes(tmp_path, browser):
    out = tmp_path / "out"
    make_out(out, [Judged(f"clip {number}") for number in range(3)])
    with review_server(out, "--blind", "0", "--per-recording", "100") as running:
        page = enter(browser.new_context(), running.addresses["ann"])
        until(page, "() => ahead !== null")
        gone = shown(page)
        (tmp_path / "list.txt").write_text(gone)
        assert main(["forget", "--out", str(out), "--list", str(tmp_path / "list.txt")]) == 0
        after(page, "Enter", gone)
        until(page, "() => document.getElementById('message').textContent.includes('forget')")
        until_kept(page, out, 0)
        page.keyboard.press("Enter")
        until(page, "() => document.getElementById('message').hidden")
        assert page.errors == []
    assert gone not in rows(out)


def test_text_from_outside_stays_text(tmp_path, browser):
    out = tmp_path / "out"
    make_out(
        out,
        [
            Judged(f"{HTML} {number}", labels=(HTML, "happy"), seen=(HTML,), transcript=HTML)
            for number in range(2)
        ],
    )
    with review_server(out, "--blind", "0") as running:
        page = enter(browser.new_context(), running.addresses["ann"])
        first = shown(page)
        assert HTML in first
        assert page.inner_text("#transcript") == HTML
        assert HTML in kept(page)
        page.keyboard.press("c")
        page.keyboard.type(HTML)
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        page.keyboard.type("<b>bold</b>")
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        second = after(page, "Enter", first)
        assert after(page, "b", second) == first
        assert page.input_value("#comment") == HTML
        assert "<b>bold</b>" in kept(page)
        assert page.title() == "emo review"
        assert page.query_selector_all("main script, #answers img, #labels b, blockquote *") == []
        assert page.errors == []
        until_kept(page, out, 1)


def test_it_fits_a_phone_and_names_what_it_has_for_a_screen_reader(tmp_path, browser):
    out = tmp_path / "out"
    long = "a" * 90
    make_out(out, [Judged(f"{long}/{number}", labels=("happy", long)) for number in range(2)])
    with review_server(out, "--blind", "0") as running:
        context = browser.new_context(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
        page = enter(context, running.addresses["ann"])
        wide = page.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide == 0
        boxes = [one.bounding_box() for one in page.query_selector_all("#labels button, .buttons button")]
        assert all(box["height"] >= 40 for box in boxes if box)
        # Everything that can be used has a name.
        for one in page.query_selector_all("#main button, #main input, #main textarea, header button"):
            name = one.evaluate("found => (found.labels?.[0] || found).textContent.trim()")
            assert name, one.evaluate("found => found.outerHTML")
        for player in ("video", "sound"):
            assert page.get_attribute(f"#{player}", "aria-label")
        page.tap("#labels button")
        until(page, "() => document.querySelector('#labels button').getAttribute('aria-pressed') === 'false'")
        assert page.inner_text("#status") == "happy: taken away"
        before = shown(page)
        page.tap("#done")
        until(page, "before => document.getElementById('name').textContent !== before", arg=before)
        assert page.evaluate("() => document.activeElement.id") == "name"
        until_kept(page, out, 1)


def test_where_the_video_is_gone_the_kept_frames_and_sound_are_shown(tmp_path, browser):
    out = tmp_path / "out"
    import io

    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(data, "JPEG")
    make_out(out, [Judged("gone", uri=str(tmp_path / "gone.mp4"), frames=(data.getvalue(),) * 3)])
    with review_server(out, "--blind", "0") as running:
        page = enter(browser.new_context(), running.addresses["ann"])
        page.wait_for_selector("#stored:not([hidden])")
        until(
            page,
            "() => { const found = [...document.querySelectorAll('#frames img')];"
            " return found.length === 3 && found.every((one) => one.naturalWidth === 64); }",
        )
        assert "not there any more" in page.inner_text("#stored")


def test_a_part_of_a_file_plays_alone(tmp_path, browser):
    film = make_clip(tmp_path / "film.mp4", seconds=6, video=("-c:v", "libx264", "-g", "25", "-bf", "0"))
    out = tmp_path / "out"
    make_out(out, [Judged("a part", uri=str(film), start_s=2.0, end_s=2.6)])
    with review_server(out, "--blind", "0") as running:
        page = enter(browser.new_context(), running.addresses["ann"])
        until(page, "() => document.getElementById('video').readyState >= 2")
        assert page.evaluate("document.getElementById('video').currentTime") == pytest.approx(2.0, abs=0.05)
        page.keyboard.press("Space")
        until(page, "() => document.getElementById('video').currentTime >= 2.5")
        until(page, "() => document.getElementById('video').paused")
        assert page.evaluate("document.getElementById('video').currentTime") < 3.5
        page.keyboard.press("r")
        until(page, "() => Math.abs(document.getElementById('video').currentTime - 2.0) < 0.05")


def test_a_video_that_no_browser_plays_is_made_one_that_it_does(tmp_path, browser):
    odd = make_clip(tmp_path / "odd.avi", video=("-c:v", "mpeg4"), sound=("-c:a", "mp2"))
    make_out(tmp_path / "out", [Judged("odd", uri=str(odd))])
    with review_server(tmp_path / "out", "--blind", "0") as running:
        page = enter(browser.new_context(), running.addresses["ann"])
        until(page, "() => document.getElementById('video').readyState >= 2")
        page.keyboard.press("Space")
        until(page, "() => document.getElementById('video').currentTime > 0.1")
        assert page.is_hidden("#stored")
        assert page.errors == []
