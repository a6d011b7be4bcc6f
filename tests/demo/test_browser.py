"""The demo as a visitor sees it, in headless Chromium, with the weights of this repository."""

import json
import re
import wave
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from fer_model.demo.tabs.live import FRAME_SIZE
from fer_model.inference.pipeline import NO_FACE
from fer_model.labels import EMOTIONS
from helpers import EXAMPLES, ROOT
from helpers.app import running_app
from helpers.browser import CHROMIUM, chromium, film_of

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium was found (Debian: apt install chromium)")

AXE = ROOT / "tests" / "node_modules" / "axe-core" / "axe.min.js"

SLOW = 60_000  # milliseconds; a busy machine may take long, but not for ever

TABS = ("Photo", "Live", "Films and many pictures", "About the model")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("browser"), model="") as running:
        yield running.url
        assert "Traceback" not in running.output, running.output


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("camera")) as browser:
        yield browser


class Visit:
    """A page, every address it asked for, and every complaint in its console."""

    def __init__(self, browser, address: str, script: str = "", **options):
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
        if script:
            self.page.add_init_script(script)
        self.page.goto(address)
        self.page.wait_for_selector("#picture input[type=file]", state="attached")

    def upload(self, path: Path, into: str = "#picture") -> None:
        self.page.set_input_files(f"{into} input[type=file]", str(path))

    def expect_text(self, query: str, text: "str | re.Pattern") -> None:
        sync_api.expect(self.page.locator(query)).to_contain_text(text, timeout=SLOW)

    def expect_message(self, text: "str | re.Pattern") -> None:
        self.expect_text("#message", text)

    def recognise(self, path: Path, message: "str | re.Pattern") -> None:
        self.upload(path)
        self.expect_message(message)
        self.page.wait_for_selector("#maps .fer-map")

    def open_tab(self, name: str) -> None:
        tab = self.page.get_by_role("tab", name=name).first
        if not tab.is_visible():  # a narrow page keeps some in a menu
            self.page.locator(".overflow-menu > button").click()
            tab = self.page.locator(".overflow-dropdown button", has_text=name)
        tab.click()

    def maps(self) -> list[str]:
        """The addresses of the six heat maps that are shown: another map has another."""
        return self.page.eval_on_selector_all("#maps img", "images => images.map((image) => image.src)")

    def expect_other_maps(self, than: list[str]) -> None:
        sync_api.expect(self.page.locator("#maps img").first).not_to_have_attribute("src", than[0], timeout=SLOW)

    def probabilities(self, inside: str = "#face") -> dict[str, str]:
        rows = self.page.locator(f"{inside} .fer-bars li").all_inner_texts()
        return dict(row.split("\n") for row in rows)


@pytest.fixture
def visit(browser, address):
    visits = []

    def begin(query: str = "", **options) -> Visit:
        visits.append(Visit(browser, address + query, **options))
        return visits[-1]

    yield begin
    for made in visits:
        made.context.close()


# --- one photo


def test_an_upload_shows_answer_boxes_and_six_maps_and_nothing_leaves_this_machine(visit, address):
    visitor = visit(viewport={"width": 1440, "height": 1000})
    visitor.recognise(EXAMPLES / "astronaut.jpg", "looks like happiness")
    page = visitor.page
    probabilities = visitor.probabilities()
    assert tuple(probabilities) == EMOTIONS
    assert sum(int(share.rstrip("%")) for share in probabilities.values()) == pytest.approx(100, abs=3)
    assert page.locator("#boxed .fer-box").count() == 1
    assert "1 happiness" in page.inner_text("#boxed")
    assert page.eval_on_selector("#boxed img", "image => [image.naturalWidth, image.naturalHeight]") == [512, 512]
    assert page.eval_on_selector("#face .fer-seen img", "image => [image.naturalWidth, image.naturalHeight]") == [
        48,
        48,
    ]
    assert re.search(r"detector's score .*: \d\d%", page.inner_text("#face"))
    captions = page.locator("#maps figcaption").all_inner_texts()
    empty = ["no positive evidence" in caption for caption in captions]
    maps = [address for address, nothing in zip(visitor.maps(), empty, strict=True) if not nothing]
    assert len(set(maps)) == len(maps) >= 2, "each class has a map of its own, or it is said that it has none"
    assert len(set(visitor.maps())) == len(maps) + any(empty), "maps without evidence are alike"
    assert [caption.split()[0] for caption in captions] == list(EMOTIONS)
    assert not page.locator("#faces").is_visible(), "there is one face: nothing to choose"
    assert len(visitor.requests) > 20, "the requests were not recorded"
    outside = [url for url in visitor.requests if not url.startswith((address, "data:", "blob:"))]
    assert outside == []
    assert visitor.complaints == []


def test_another_face_is_shown_when_its_box_is_clicked_or_its_number_chosen(visit):
    visitor = visit()
    visitor.recognise(EXAMPLES / "two_faces.jpg", "2 faces were found")
    page = visitor.page
    first = visitor.maps()
    page.get_by_role("button", name="Face 2: ").click()
    visitor.expect_message("Face 2 of 2")
    visitor.expect_other_maps(first)
    second = visitor.maps()
    sync_api.expect(page.get_by_role("button", name="Face 2: ")).to_have_attribute("aria-pressed", "true")
    sync_api.expect(page.locator("#faces").get_by_role("radio").nth(1)).to_be_checked()
    page.locator("#faces").get_by_role("radio").nth(0).check()
    visitor.expect_message("2 faces were found")
    visitor.expect_other_maps(second)
    assert visitor.maps() == first
    assert visitor.complaints == []


def test_a_box_lies_on_its_face(visit):
    """Where the boxes are on the screen, against where the face is in the photo, 920 x 560."""
    visitor = visit(viewport={"width": 390, "height": 844})
    visitor.recognise(EXAMPLES / "two_faces.jpg", "2 faces were found")
    inside = visitor.page.evaluate(
        """(points) => {
            const image = document.querySelector('#boxed img').getBoundingClientRect();
            return [...document.querySelectorAll('#boxed .fer-box')].map((box, index) => {
                const [x, y] = points[index], place = box.getBoundingClientRect();
                const [left, top] = [image.left + x * image.width / 920, image.top + y * image.height / 560];
                return place.left < left && left < place.right && place.top < top && top < place.bottom;
            });
        }""",
        [[248, 175], [725, 216]],
    )
    assert inside == [True, True]


def test_the_keyboard_reaches_a_face_and_chooses_it(visit):
    visitor = visit()
    visitor.recognise(EXAMPLES / "two_faces.jpg", "2 faces were found")
    page = visitor.page
    box = page.get_by_role("button", name="Face 2: ")
    page.get_by_role("button", name="Face 1: ").focus()
    page.keyboard.press("Tab")
    sync_api.expect(box).to_be_focused()
    page.keyboard.press("Enter")
    visitor.expect_message("Face 2 of 2")


def test_the_slider_sets_how_much_the_maps_cover(visit):
    visitor = visit()
    visitor.recognise(EXAMPLES / "astronaut.jpg", "happiness")
    slider = visitor.page.locator("#opacity input[type=range]")
    before = len(visitor.requests)
    for value, opacity in (("80", 0.8), ("0", 0.0)):
        slider.fill(value)
        visitor.page.wait_for_function(
            "(wanted) => Math.abs(getComputedStyle(document.querySelector('#maps img')).opacity - wanted) < 0.01",
            arg=opacity,
        )
    assert len(visitor.requests) == before, "the server has nothing to do with it"


def test_versions_answer_each_for_itself_and_side_by_side(visit):
    visitor = visit()
    visitor.recognise(EXAMPLES / "two_faces.jpg", "2 faces were found")
    page = visitor.page
    newest, first = visitor.probabilities(), visitor.maps()
    page.locator("#version input").click()
    page.get_by_role("option", name="V1").click()
    visitor.expect_other_maps(first)
    oldest = visitor.probabilities()
    assert oldest != newest
    page.locator("#compare input").check()
    page.wait_for_selector("#answers table")
    assert compared(page)["V1"] == oldest
    assert compared(page)["V3"] == newest
    page.get_by_role("button", name="Face 2: ").click()
    visitor.expect_message("Face 2 of 2")
    assert compared(page)["V1"] == visitor.probabilities() != oldest
    assert visitor.complaints == []


def compared(page) -> dict[str, dict[str, str]]:
    """The probabilities that the table shows side by side, by version and class."""
    columns = {}
    for index, name in enumerate(page.locator("#answers thead th").all_inner_texts(), 1):
        # the last row holds the answers, the head of the first column none
        cells = page.locator(f"#answers tbody td:nth-of-type({index})").all_inner_texts()[: len(EMOTIONS)]
        columns[name] = dict(zip(EMOTIONS, cells, strict=True))
    return columns


def test_every_example_is_recognised_by_one_click(visit):
    visitor = visit()
    examples = visitor.page.locator("#examples button")
    sync_api.expect(examples).to_have_count(5, timeout=SLOW)
    for index, message in ((1, "2 faces were found"), (2, "The whole picture was taken as the face")):
        examples.nth(index).click()
        visitor.expect_message(message)
    visitor.page.wait_for_selector("#maps .fer-map")
    assert visitor.complaints == []


def test_a_picture_without_a_face_replaces_the_last_results_by_a_sentence(visit, tmp_path):
    Image.new("RGB", (300, 200), "white").save(tmp_path / "blank.png")
    visitor = visit()
    visitor.recognise(EXAMPLES / "astronaut.jpg", "happiness")
    page = visitor.page
    page.locator("#picture button[aria-label='Remove Image']").click()
    visitor.expect_message("Give a picture")
    visitor.upload(tmp_path / "blank.png")
    visitor.expect_message(NO_FACE)
    sync_api.expect(page.locator("#maps img")).to_have_count(0, timeout=SLOW)
    page.get_by_label("The picture is already a face").check()
    visitor.expect_message("The whole picture was taken as the face.")
    assert visitor.complaints == []


def test_levelling_the_eyes_can_be_switched_off(visit, tmp_path):
    with Image.open(EXAMPLES / "astronaut.jpg") as photo:
        photo.convert("RGB").rotate(-25, expand=True).save(tmp_path / "tilted.png")
    visitor = visit()
    visitor.recognise(tmp_path / "tilted.png", re.compile("expression|unsure"))
    visitor.expect_text("#face", re.compile(r"Turned counter-clockwise by [23]\d°"))
    visitor.page.get_by_label("Level the eyes").uncheck()
    sync_api.expect(visitor.page.locator("#face")).not_to_contain_text("Turned", timeout=SLOW)


def test_a_damaged_picture_is_answered_with_a_sentence(visit, tmp_path):
    visitor = visit()
    (tmp_path / "half.jpg").write_bytes((EXAMPLES / "astronaut.jpg").read_bytes()[:9000])
    visitor.upload(tmp_path / "half.jpg")
    visitor.expect_message("damaged or cut off")
    assert "Traceback" not in visitor.page.content()


# --- the camera


def start_camera(visitor: Visit) -> None:
    visitor.open_tab("Live")
    visitor.page.get_by_role("button", name="Start the camera").click()


def test_the_camera_shows_boxes_and_smoothed_probabilities_and_stops_cleanly(visit):
    visitor = visit(viewport={"width": 1440, "height": 1000})
    page = visitor.page
    start_camera(visitor)
    page.wait_for_selector("#camera svg rect", state="attached")
    visitor.expect_text("#camera svg text", re.compile(r"^1 \w+"))
    visitor.expect_text(".fer-rate", re.compile(r"[\d.]+ answers a second"))
    assert tuple(visitor.probabilities("#live-chart")) == EMOTIONS
    page.wait_for_selector("#live-chart svg polyline", state="attached")

    # the box lies on her face in the mirrored video: the nose is near (292, 213) of the frame while she sways by 25
    box = page.eval_on_selector("#camera svg rect", "r => ['x', 'y', 'width', 'height'].map((a) => +r.getAttribute(a))")
    left, top, width, height = box
    assert left < FRAME_SIZE - 292 + 40
    assert left + width > FRAME_SIZE - 292 - 40
    assert top < 213 < top + height

    page.get_by_role("button", name="Stop the camera").click()
    visitor.expect_text("#camera", "The camera is off.")
    assert page.eval_on_selector("#camera video", "video => video.srcObject") is None
    page.wait_for_timeout(700)  # the last answer may be under way
    sent = len(visitor.requests)
    page.wait_for_timeout(1500)
    assert len(visitor.requests) == sent, "frames are sent although the camera is off"
    assert page.locator("#camera svg rect").count() == 0

    page.get_by_role("button", name="Start the camera").click()
    page.wait_for_selector("#camera svg rect", state="attached")
    assert visitor.complaints == []


def test_boxes_and_the_heat_map_of_the_camera_can_be_chosen(visit):
    visitor = visit()
    start_camera(visitor)
    page = visitor.page
    page.wait_for_selector("#camera svg rect", state="attached")
    assert page.locator("#camera svg image").count() == 0
    page.get_by_label("Heat map").check()
    page.wait_for_selector("#camera svg image", state="attached")
    page.get_by_label("Boxes").uncheck()
    page.wait_for_selector("#camera svg rect", state="detached")
    assert visitor.complaints == []


COUNT_FRAMES = """
window.sent = 0;
const encode = HTMLCanvasElement.prototype.toDataURL;
HTMLCanvasElement.prototype.toDataURL = function (...how) { window.sent += 1; return encode.apply(this, how); };
"""

COUNT_ANSWERS = """
() => {
    const answered = window.ferCamera.answered;
    window.answers = window.sent - 1;  // one is on its way
    window.ferCamera.answered = (answer) => { window.answers += 1; answered(answer); };
}
"""


def test_no_frame_is_sent_while_another_tab_is_open_and_one_at_a_time_afterwards(visit):
    visitor = visit(script=COUNT_FRAMES)
    start_camera(visitor)
    page = visitor.page
    page.wait_for_selector("#camera svg rect", state="attached")
    page.evaluate(COUNT_ANSWERS)
    visitor.open_tab("About the model")
    page.wait_for_timeout(1500)
    sent = page.evaluate("window.sent")
    page.wait_for_timeout(10_500)  # longer than the page waits for an answer before it sends another frame
    assert page.evaluate("window.sent") == sent, "nobody looks, and the server works"
    visitor.open_tab("Live")
    under_way = []
    for _ in range(20):
        page.wait_for_timeout(100)
        under_way.append(page.evaluate("window.sent - window.answers"))
    assert page.evaluate("window.sent") > sent + 2
    assert max(under_way) <= 1, "the camera goes round more than once"
    assert visitor.complaints == []


def test_an_impatient_visitor_starts_one_camera(visit):
    slow = """
    window.asked = 0;
    const give = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wish) => {
        window.asked += 1;
        await new Promise((done) => setTimeout(done, 800));
        return give(wish);
    };
    """
    visitor = visit(script=slow)
    start_camera(visitor)
    visitor.page.get_by_role("button", name="Start the camera").click()
    visitor.page.wait_for_selector("#camera svg rect", state="attached")
    assert visitor.page.evaluate("window.asked") == 1


@pytest.mark.parametrize(
    ("name", "sentence"), [("NotAllowedError", "was not allowed"), ("NotFoundError", "No camera was found")]
)
def test_a_camera_that_cannot_be_had_is_a_sentence(visit, name, sentence):
    refuse = f"navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', '{name}'));"
    visitor = visit(script=refuse)
    start_camera(visitor)
    visitor.expect_text("#camera", sentence)
    sync_api.expect(visitor.page.get_by_role("button", name="Start the camera")).to_be_visible()


# --- films and many pictures


def test_a_film_comes_back_with_boxes_a_table_and_a_chart(visit, tmp_path):
    visitor = visit(viewport={"width": 1440, "height": 1000})
    visitor.open_tab("Films and many pictures")
    page = visitor.page
    visitor.upload(film_of("two_faces.jpg", tmp_path / "film.mp4", seconds=1.0), "#film")
    page.wait_for_selector("#film video")
    page.locator("#film-start").click()
    visitor.expect_text("#film-message", re.compile(r"2 faces followed in 10 of the film's frames"))
    page.wait_for_function("() => document.querySelector('#film-out video')?.duration > 0.9")
    page.wait_for_selector("#film-chart svg, #film-chart canvas")
    with page.expect_download() as download:
        page.locator("#film-table a").first.click()
    rows = download.value.path().read_text().splitlines()
    assert len(rows) == 1 + 10 * 2
    assert visitor.complaints == []


def test_a_film_can_be_cancelled(visit, tmp_path):
    visitor = visit()
    visitor.open_tab("Films and many pictures")
    page = visitor.page
    visitor.upload(film_of("two_faces.jpg", tmp_path / "film.mp4", seconds=20.0), "#film")
    page.wait_for_selector("#film video")
    page.locator("#film-start").click()
    page.wait_for_selector("#film-message progress[value]")
    visitor.expect_text("#film-message", re.compile(r"\d+ of 20 seconds done"))
    page.locator("#film-cancel").click()
    visitor.expect_text("#film-message", "Cancelled.")
    visitor.upload(EXAMPLES / "two_faces.jpg", "#pictures")  # whose turn comes only if the film has really ended
    page.wait_for_selector("#pictures .file-preview")
    page.locator("#pictures-start").click()
    visitor.expect_text("#pictures-message", "2 faces in 1 picture.")


def test_pictures_and_a_zip_become_one_table(visit, tmp_path):
    with zipfile.ZipFile(tmp_path / "holiday.zip", "w") as archive:
        archive.write(EXAMPLES / "two_faces.jpg", "deep/two.jpg")
        archive.writestr("deep/broken.jpg", b"no picture")
        archive.writestr("notes.txt", "no picture either")
    visitor = visit(viewport={"width": 1440, "height": 1000})
    visitor.open_tab("Films and many pictures")
    page = visitor.page
    files = [str(tmp_path / "holiday.zip"), str(EXAMPLES / "astronaut.jpg")]
    page.set_input_files("#pictures input[type=file]", files)
    page.wait_for_selector("#pictures .file-preview")
    page.locator("#pictures-start").click()
    visitor.expect_text("#pictures-message", "3 faces in 3 pictures")
    visitor.expect_text("#pictures-table", "astronaut.jpg")
    with page.expect_download() as download:
        page.locator("#pictures-file a").first.click()
    rows = download.value.path().read_text().splitlines()
    assert len(rows) == 1 + 2 + 1 + 1, "two faces, a picture that cannot be read, and the astronaut"
    assert visitor.complaints == []


def test_a_folder_becomes_a_table(visit, tmp_path):
    (tmp_path / "holiday" / "deep").mkdir(parents=True)
    for name in ("holiday/two.jpg", "holiday/deep/again.jpg"):
        (tmp_path / name).write_bytes((EXAMPLES / "two_faces.jpg").read_bytes())
    visitor = visit()
    visitor.open_tab("Films and many pictures")
    page = visitor.page
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take a folder").click()
    chooser.value.set_files(str(tmp_path / "holiday"))
    page.wait_for_selector("#pictures .file-preview")
    page.locator("#pictures-start").click()
    visitor.expect_text("#pictures-message", "4 faces in 2 pictures")
    assert visitor.complaints == []


def test_what_is_no_film_is_a_sentence(visit, tmp_path):
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    (tmp_path / "sound.wav").rename(tmp_path / "film.mp4")
    visitor = visit()
    visitor.open_tab("Films and many pictures")
    visitor.upload(tmp_path / "film.mp4", "#film")
    visitor.page.wait_for_selector("#film video")
    visitor.page.locator("#film-start").click()
    sync_api.expect(visitor.page.get_by_text("not a film that can be read")).to_be_visible(timeout=SLOW)


# --- about the model


def test_the_models_figures_and_pictures_are_those_in_results(visit, address):
    visitor = visit(viewport={"width": 1440, "height": 1000})
    visitor.open_tab("About the model")
    page = visitor.page
    table = page.inner_text("#scores")
    for name in ("V1", "V2", "V3"):
        figures = json.loads((ROOT / "results" / name.lower() / "metrics.json").read_text())
        assert f"{figures['accuracy']:.1%}" in table
        page.get_by_role("radio", name=name).check()
        sync_api.expect(page.locator("#figures img").first).to_have_attribute("src", re.compile(f"/{name.lower()}/"))
        images = page.locator("#figures img").all()
        assert len(images) == 5
        for image in images:
            image.scroll_into_view_if_needed()
            image.evaluate("image => image.decode()")
            assert name in image.get_attribute("alt")
    assert "An expression is not an emotion" in page.inner_text("body")
    assert visitor.complaints == []


# --- for everybody


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed (npm ci --prefix tests)")
@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 390)])
def test_axe_finds_nothing_serious_in_any_tab(visit, tmp_path, theme, width):
    visitor = visit(f"?__theme={theme}", viewport={"width": width, "height": 900})
    page = visitor.page
    assert (theme == "dark") == ("dark" in page.evaluate("document.body.className"))
    seen = serious(page, "nothing yet")
    visitor.recognise(EXAMPLES / "two_faces.jpg", "2 faces were found")
    page.locator("#compare input").check()
    page.wait_for_selector("#answers table")
    seen += serious(page, "photo")
    start_camera(visitor)
    page.wait_for_selector("#live-chart .fer-bars")
    seen += serious(page, "live")
    visitor.open_tab("About the model")
    page.wait_for_selector("#figures img")
    seen += serious(page, "about")
    visitor.open_tab("Films and many pictures")
    page.wait_for_selector("#film")
    seen += serious(page, "no film yet")
    visitor.upload(film_of("two_faces.jpg", tmp_path / "film.mp4", seconds=0.5), "#film")
    page.wait_for_selector("#film video")
    page.locator("#film-start").click()
    page.wait_for_selector("#film-out video")
    visitor.upload(EXAMPLES / "two_faces.jpg", "#pictures")
    page.wait_for_selector("#pictures .file-preview")
    page.locator("#pictures-start").click()
    visitor.expect_text("#pictures-message", "2 faces")
    seen += serious(page, "films")
    assert seen == [], "\n".join(seen)


def serious(page, where: str) -> list[str]:
    """What axe-core calls serious or critical."""
    page.wait_for_timeout(500)  # colours fade in
    page.evaluate(AXE.read_text(encoding="utf-8"))
    return [
        f"{where}: {found['id']}: {node['target']}"
        for found in page.evaluate("axe.run()")["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("query", ["?__theme=light", "?__theme=dark"])
def test_no_tab_of_a_narrow_page_scrolls_sideways(visit, query):
    visitor = visit(query, viewport={"width": 390, "height": 844})
    visitor.recognise(EXAMPLES / "two_faces.jpg", "2 faces were found")
    for name in TABS:
        visitor.open_tab(name)
        visitor.page.wait_for_timeout(300)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390, name


def test_every_picture_on_the_page_has_a_text_or_is_decoration(visit):
    visitor = visit()
    visitor.recognise(EXAMPLES / "two_faces.jpg", "2 faces were found")
    for name in TABS:
        visitor.open_tab(name)
        without = visitor.page.eval_on_selector_all(
            ".fer-photo img, .fer-seen img, .fer-maps img, #figures img",
            "images => images.filter((image) => !image.hasAttribute('alt')).length",
        )
        assert without == 0
    described = visitor.page.eval_on_selector_all("[role=img]", "maps => maps.map((map) => map.ariaLabel)")
    assert sum("Grad-CAM for" in (text or "") for text in described) == 6


def test_the_page_says_what_it_cannot_do_and_that_nothing_is_stored(visit):
    visitor = visit()
    text = visitor.page.inner_text("body")
    assert "Neutral is not among the six" in text
    assert "an expression is not an emotion" in text
    assert "Nothing is stored" in text


def test_two_visitors_see_each_their_own_picture(visit):
    one, other = visit(), visit()
    one.upload(EXAMPLES / "two_faces.jpg")
    other.upload(EXAMPLES / "astronaut.jpg")
    one.expect_message("2 faces were found")
    other.expect_message("looks like happiness")
    sizes = [visitor.page.eval_on_selector("#boxed img", "image => image.naturalWidth") for visitor in (one, other)]
    assert sizes == [920, 512]
