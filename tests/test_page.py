"""The page in a real browser: the Chromium that is on the machine, driven by Playwright."""

import re
import shutil
from base64 import b64encode
from fractions import Fraction
from importlib.util import find_spec
from io import BytesIO

import numpy as np
import pytest
from conftest import PORTRAIT
from PIL import Image

from facekp import FaceParser

reason = "needs the extra demo, Playwright and Chromium: pip install -e '.[dev]', apt-get install chromium"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None or not all(map(find_spec, ("gradio", "playwright"))):
    pytest.skip(reason, allow_module_level=True)

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PATIENCE = 120_000  # ms; other programs may use the machine


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    from facekp.demo.page import Desk, build_page, launch  # seconds to import

    parser = FaceParser()
    parser.stages.backend.size = 256  # half of what it was trained at, in a quarter of the time
    page = build_page(Desk(parser, tmp_path_factory.mktemp("page")))
    yield launch(page)
    page.close(verbose=False)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium with a webcam that shows the portrait."""
    from playwright import sync_api

    webcam = shutil.copy(PORTRAIT, tmp_path_factory.mktemp("webcam") / "film.mjpeg")  # one frame, repeated
    args = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    args.append(f"--use-file-for-fake-video-capture={webcam}")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def watched():
    """The addresses that all pages asked for, and the errors of their scripts."""
    return [], []


@pytest.fixture(scope="module")
def open_page(address, browser, watched):
    """Open the page in a new tab; all tabs share the files that the page consists of."""
    asked, failed = watched
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def open_page():
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(error))
        page.goto(address)
        return page

    return open_page


@pytest.fixture
def visit(open_page):
    """Open the page as a new visitor, who leaves at the end of the test."""
    pages = []
    yield lambda: pages.append(open_page()) or pages[-1]
    for page in pages:
        page.close()


@pytest.fixture(autouse=True)
def _only_this_computer_is_asked(address, watched):
    yield
    asked, failed = watched
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert failed == []


@pytest.fixture(scope="module")
def portrait(open_page):
    """A page that shows the portrait's faces."""
    page = open_page()
    upload(page, PORTRAIT)
    picture(page)
    return page


def upload(page, path):
    page.locator("input[type=file]").first.set_input_files(path)


def picture(page, other_than=None):
    """Return the address of the picture in the view, once it is another."""
    changed = "old => { const now = document.querySelector('.view img'); return now && now.src !== old }"
    page.wait_for_function(changed, arg=other_than, polling=100)  # ms; else it draws the page sixty times a second
    return page.locator(".view img").get_attribute("src")


def test_a_photo_is_shown_as_the_controls_say(portrait):
    page = portrait
    seen = [picture(page)]
    assert page.locator(".view img").get_attribute("alt").startswith("astronaut.jpg with skin, nose, ")
    assert page.locator("table.attributes tbody tr").count() > 10
    page.locator('.view path[data-name^="nose"]').hover()
    assert re.fullmatch(r"nose  0\.\d\d", page.locator(".view output").inner_text())

    def changed():
        seen.append(picture(page, other_than=seen[-1]))

    for name in ("landmarks", "names"):
        page.get_by_label(name, exact=True).check()
        changed()
    assert page.locator(".view circle").count() > 60
    for name in ("masks", "outlines", "key points"):
        page.get_by_label(name, exact=True).uncheck()
        changed()
    page.get_by_label("masks", exact=True).check()
    changed()
    page.get_by_label("number input for Opacity of masks").fill("0.9")
    changed()
    page.get_by_label("key points", exact=True).check()
    changed()
    page.get_by_label("number input for Key points per attribute").fill("8")
    changed()
    assert len(set(seen)) == len(seen)

    page.get_by_role("tab", name="Python").click()
    page.get_by_text("KeypointConfig(n=8)").wait_for()
    page.get_by_role("tab", name="Cut-out").click()
    page.locator("#piece img").wait_for()
    page.get_by_role("tab", name="Recolour").click()
    page.locator("#painted img").nth(1).wait_for()
    page.get_by_role("tab", name="Before and after").click()
    page.locator("#compared img").nth(1).wait_for()
    page.get_by_role("tab", name="Masks").click()


def test_the_webcam_takes_a_photo(visit):
    page = visit()
    page.context.grant_permissions(["camera"])
    page.get_by_label("Capture from camera").click()
    page.get_by_title("grant webcam access").get_by_role("button").click()
    page.wait_for_function("document.querySelector('[data-testid=webcam-video]')?.readyState >= 2")  # it has a frame
    page.get_by_label("capture photo").click()
    picture(page)
    assert page.locator(".view img").get_attribute("alt").startswith("image.png with skin, nose, ")
    assert {"skin", "hair"} <= set(page.locator("table.attributes").inner_text().split())


def test_a_photo_is_pasted_by_button_and_keyboard(visit, portrait):
    page = visit()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    png = BytesIO()
    Image.open(PORTRAIT).save(png, "PNG")
    page.evaluate(
        """async url => {
            const blob = await (await fetch(url)).blob();
            await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        }""",
        f"data:image/png;base64,{b64encode(png.getvalue()).decode()}",
    )
    # The same pixels: each area and confidence is that of the uploaded photo.
    expected = portrait.locator("table.attributes").inner_text()
    assert {"skin", "hair"} <= set(expected.split())

    page.get_by_label("Paste from clipboard").click()
    picture(page)
    assert page.locator(".view img").get_attribute("alt").startswith("clipboard.png with skin, nose, ")
    assert page.locator("table.attributes").inner_text() == expected

    page.keyboard.press("Control+v")  # in place of the first
    page.locator(".view img[alt^='image.png with skin, nose, ']").wait_for()
    assert page.locator("table.attributes").inner_text() == expected


def test_a_narrow_screen_shows_all(portrait):
    portrait.set_viewport_size({"width": 390, "height": 844})
    assert portrait.evaluate("document.documentElement.scrollWidth") <= 390
    assert 300 < portrait.locator(".view img").bounding_box()["width"] <= 390
    assert portrait.locator("table.attributes").bounding_box()["width"] <= 390
    portrait.set_viewport_size({"width": 1280, "height": 900})


def test_files_are_saved(portrait, tmp_path):
    portrait.get_by_role("tab", name="Files").click()
    portrait.get_by_role("button", name="Make files").click()
    links = portrait.locator("a[download]:visible")
    links.first.wait_for()
    names = set(links.evaluate_all("all => all.map(link => link.download)"))
    endings = ("hair.cutout.png", "json", "mask.png", "overlay.jpg", "svg")
    assert names == {"annotations.json", *(f"astronaut.{ending}" for ending in endings)}
    with portrait.expect_download() as download:
        portrait.locator("a[download$='mask.png']").click()
    download.value.save_as(tmp_path / "mask.png")
    assert Image.open(tmp_path / "mask.png").size == (512, 512)


def test_a_face_of_several_is_chosen_by_a_click(visit):
    page = visit()
    page.locator("button.gallery-item, .gallery button").nth(2).click()
    everyone = picture(page)
    assert page.locator("table.attributes .face").count() == 4
    page.locator('.view g[data-face="2"] path[data-name^="nose"]').click()
    picture(page, other_than=everyone)
    assert page.get_by_role("radio", name="2").is_checked()
    assert page.locator("table.attributes .face").count() == 0


def test_problems_are_said_in_words(visit, tmp_path):
    page = visit()
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    upload(page, tmp_path / "broken.jpg")
    page.get_by_text("broken.jpg: cannot be read (not a picture); choose a JPEG, PNG or WebP").wait_for()
    page.get_by_label("Remove Image").click()
    page.get_by_text("Drop a photo on the left").wait_for()
    Image.new("RGB", (200, 200), "teal").save(tmp_path / "nobody.png")
    upload(page, tmp_path / "nobody.png")
    page.get_by_text("no face was found in nobody.png").wait_for()


def test_two_visitors_at_once_get_their_own_results(visit, tmp_path):
    Image.open(PORTRAIT).crop((100, 0, 400, 300)).save(tmp_path / "mine.png")
    Image.open(PORTRAIT).crop((120, 10, 380, 270)).save(tmp_path / "yours.png")
    one, other = visit(), visit()
    upload(one, tmp_path / "mine.png")
    upload(other, tmp_path / "yours.png")
    before = picture(one), picture(other)
    assert before[0] != before[1]
    other.get_by_label("masks", exact=True).uncheck()
    picture(other, other_than=before[1])
    assert picture(one) == before[0]
    assert one.locator(".view img").get_attribute("alt").startswith("mine.png with ")
    assert other.locator(".view img").get_attribute("alt").startswith("yours.png with ")


def test_a_video_becomes_an_annotated_clip(visit, tmp_path):
    pytest.importorskip("av")
    from facekp.predict.video_io import VideoWriter

    with VideoWriter(tmp_path / "clip.mp4", Fraction(10)) as clip:
        for k in range(2):
            clip.write(np.asarray(Image.open(PORTRAIT))[:300, 100 + k : 400 + k], k / 10)
    page = visit()
    page.get_by_role("tab", name="Video").click()
    # The tab is laid out only now: the last input of the page may still be another tab's.
    page.locator("#video input[type=file]").set_input_files(tmp_path / "clip.mp4")
    page.locator("#video video").wait_for(state="attached")  # it has arrived
    page.get_by_role("button", name="Parse the video").click()
    page.locator("a[download$='.overlay.mp4']").first.wait_for()
    assert page.locator("a[download='clip.jsonl']").count() == 1
