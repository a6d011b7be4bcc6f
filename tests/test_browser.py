"""The demo as a visitor sees it, in headless Chromium. SCREENSHOT=file.png keeps a picture of it."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from app_fixture import EXAMPLES, running_app
from fer_model.labels import EMOTIONS
from fer_model.pipeline import NO_FACE

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium was found (Debian: apt install chromium)")

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
SLOW = 60_000  # milliseconds; a busy machine may take long, but not for ever


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("browser")) as running:
        yield running.url


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield chromium
        chromium.close()


class Visit:
    """A page, every address it asked for, and every complaint in its console."""

    def __init__(self, browser, address: str, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SLOW)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        # the context's events, so that requests of workers and new pages count too
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("console", lambda line: line.type == "error" and self.complaints.append(line.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#picture input[type=file]", state="attached")

    def upload(self, path: Path) -> None:
        self.page.set_input_files("#picture input[type=file]", str(path))

    def expect_message(self, text: str) -> None:
        sync_api.expect(self.page.locator("#message")).to_contain_text(text, timeout=SLOW)

    def overlay(self) -> str:
        """The address of the overlay that is shown: another picture has another."""
        return self.page.locator("#overlay img").get_attribute("src")

    def expect_another_overlay(self, than: str) -> None:
        sync_api.expect(self.page.locator("#overlay img")).not_to_have_attribute("src", than, timeout=SLOW)


@pytest.fixture
def visit(browser, address):
    visits = []

    def begin(query: str = "", **options) -> Visit:
        visits.append(Visit(browser, address + query, **options))
        return visits[-1]

    yield begin
    for made in visits:
        made.context.close()


def test_an_upload_shows_label_boxes_and_overlay_and_nothing_leaves_this_machine(visit, address):
    visitor = visit(viewport={"width": 1440, "height": 1000})
    visitor.upload(EXAMPLES / "astronaut.jpg")
    page = visitor.page
    for pictures in ("#boxed img", "#overlay img"):
        page.wait_for_selector(pictures)
        page.wait_for_function("query => document.querySelector(query).naturalWidth > 0", arg=pictures)
    shown = page.inner_text("#probabilities")
    assert all(emotion in shown for emotion in EMOTIONS)
    assert shown.count("%") == 6
    assert any(emotion in page.inner_text("#message") for emotion in EMOTIONS)
    assert not page.locator("#faces").is_visible(), "there is one face: nothing to choose"
    if path := os.environ.get("SCREENSHOT"):
        page.wait_for_timeout(1000)  # the progress display fades out
        page.screenshot(path=path, full_page=True)
    assert len(visitor.requests) > 20, "the requests were not recorded"
    outside = [url for url in visitor.requests if not url.startswith((address, "data:", "blob:"))]
    assert outside == []
    assert visitor.complaints == []


def test_another_face_is_shown_when_it_is_chosen_or_clicked(visit):
    visitor = visit()
    visitor.upload(EXAMPLES / "two_faces.jpg")
    visitor.expect_message("2 faces were found")
    page = visitor.page
    page.wait_for_selector("#overlay img")
    first = visitor.overlay()

    page.get_by_label("Face 2").check()
    visitor.expect_message("Face 2 of 2")
    visitor.expect_another_overlay(first)
    second = visitor.overlay()

    # where the first face is in the photo, 920 x 560, which is fitted into its frame
    frame = page.locator("#boxed img")
    frame.scroll_into_view_if_needed()
    x, y = frame.evaluate(
        """(image, [x, y]) => {
            const scale = Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
            return [(image.clientWidth - scale * image.naturalWidth) / 2 + scale * x,
                    (image.clientHeight - scale * image.naturalHeight) / 2 + scale * y];
        }""",
        [248, 175],
    )
    frame.click(position={"x": x, "y": y})
    visitor.expect_message("2 faces were found")
    visitor.expect_another_overlay(second)
    sync_api.expect(page.get_by_label("Face 1")).to_be_checked()
    assert visitor.complaints == []


def test_the_evidence_for_another_expression_can_be_chosen(visit):
    visitor = visit()
    visitor.upload(EXAMPLES / "drawn_surprise.png")
    visitor.expect_message("The whole picture was taken as the face.")
    page = visitor.page
    page.wait_for_selector("#overlay img")
    before = visitor.overlay()
    message = page.inner_text("#message")
    other = next(emotion for emotion in EMOTIONS if emotion not in message)
    page.locator("#emotion input").click()
    page.get_by_role("option", name=other).click()
    visitor.expect_another_overlay(before)
    assert page.inner_text("#message") == message
    assert visitor.complaints == []


def test_an_example_is_recognised_by_one_click(visit):
    visitor = visit()
    examples = visitor.page.locator("button.gallery-item")
    sync_api.expect(examples).to_have_count(5, timeout=SLOW)
    examples.nth(0).click()
    visitor.page.wait_for_selector("#overlay img")
    assert visitor.complaints == []


def test_a_picture_without_a_face_replaces_the_last_results_by_a_sentence(visit, tmp_path):
    Image.new("RGB", (300, 200), "white").save(tmp_path / "blank.png")
    visitor = visit()
    visitor.upload(EXAMPLES / "astronaut.jpg")
    page = visitor.page
    page.wait_for_selector("#overlay img")
    page.locator("#picture button[aria-label='Remove Image']").click()
    visitor.expect_message("Give a picture")
    visitor.upload(tmp_path / "blank.png")
    visitor.expect_message(NO_FACE)
    sync_api.expect(page.locator("#overlay img")).to_have_count(0, timeout=SLOW)
    page.get_by_label("The picture is already a face").check()
    visitor.expect_message("The whole picture was taken as the face.")
    assert visitor.complaints == []


def test_a_damaged_picture_is_answered_with_a_sentence(visit, tmp_path):
    visitor = visit()
    (tmp_path / "half.jpg").write_bytes((EXAMPLES / "astronaut.jpg").read_bytes()[:9000])
    visitor.upload(tmp_path / "half.jpg")
    visitor.expect_message("damaged or cut off")
    assert "Traceback" not in visitor.page.content()


@pytest.mark.parametrize("query", ["?__theme=light", "?__theme=dark"])
def test_a_narrow_page_does_not_scroll_sideways(visit, query):
    visitor = visit(query, viewport={"width": 390, "height": 844})
    visitor.upload(EXAMPLES / "two_faces.jpg")
    visitor.page.wait_for_selector("#overlay img")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert ("dark" in visitor.page.evaluate("document.body.className")) == query.endswith("dark")
