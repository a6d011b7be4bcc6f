"""The photo tab in headless Chromium, with the weights of this repository."""

import re

import pytest
from PIL import Image

from fer_model.inference.pipeline import NO_FACE
from fer_model.labels import EMOTIONS_WITH_NEUTRAL
from helpers import EXAMPLES
from helpers.browser import SLOW, expect


def test_an_upload_shows_answer_boxes_and_a_map_for_each_class_and_nothing_leaves_this_machine(visit, address):
    visitor = visit(viewport={"width": 1440, "height": 1000})
    visitor.recognise(EXAMPLES / "astronaut.jpg", "looks like happiness")
    page = visitor.page
    probabilities = visitor.probabilities()
    assert tuple(probabilities) == EMOTIONS_WITH_NEUTRAL
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
    assert [caption.split()[0] for caption in captions] == list(EMOTIONS_WITH_NEUTRAL)
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
    expect(page.get_by_role("button", name="Face 2: ")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#faces").get_by_role("radio").nth(1)).to_be_checked()
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
    expect(box).to_be_focused()
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
    page.get_by_role("option", name="V1", exact=True).click()
    visitor.expect_other_maps(first)
    oldest = visitor.probabilities()
    assert oldest != newest
    page.locator("#compare input").check()
    page.wait_for_selector("#answers table")
    assert compared(page)["V1"] == oldest | {"neutral": "–"}
    assert compared(page)["V4, seven classes"] == newest
    page.get_by_role("button", name="Face 2: ").click()
    visitor.expect_message("Face 2 of 2")
    assert compared(page)["V1"] == visitor.probabilities() | {"neutral": "–"} != oldest
    assert visitor.complaints == []


def compared(page) -> dict[str, dict[str, str]]:
    """The probabilities that the table shows side by side, by version and class."""
    columns = {}
    for index, name in enumerate(page.locator("#answers thead th").all_inner_texts(), 1):
        # the last row holds the answers, the head of the first column none
        cells = page.locator(f"#answers tbody td:nth-of-type({index})").all_inner_texts()[: len(EMOTIONS_WITH_NEUTRAL)]
        columns[name] = dict(zip(EMOTIONS_WITH_NEUTRAL, cells, strict=True))
    return columns


def test_every_example_is_recognised_by_one_click(visit):
    visitor = visit()
    examples = visitor.page.locator("#examples button")
    expect(examples).to_have_count(6, timeout=SLOW)
    for index, message in ((1, "2 faces were found"), (2, "neutral")):
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
    expect(page.locator("#maps img")).to_have_count(0, timeout=SLOW)
    page.get_by_label("The picture is already a face").check()
    visitor.expect_message("The whole picture was taken as the face.")
    assert visitor.complaints == []


@pytest.mark.slow
def test_levelling_the_eyes_can_be_switched_off(visit, tmp_path):
    with Image.open(EXAMPLES / "astronaut.jpg") as photo:
        photo.convert("RGB").rotate(-25, expand=True).save(tmp_path / "tilted.png")
    visitor = visit()
    visitor.recognise(tmp_path / "tilted.png", re.compile("expression|unsure"))
    visitor.expect_text("#face", re.compile(r"Turned counter-clockwise by [23]\d°"))
    visitor.page.get_by_label("Level the eyes").uncheck()
    expect(visitor.page.locator("#face")).not_to_contain_text("Turned", timeout=SLOW)


def test_a_damaged_picture_is_answered_with_a_sentence(visit, tmp_path):
    visitor = visit()
    (tmp_path / "half.jpg").write_bytes((EXAMPLES / "astronaut.jpg").read_bytes()[:9000])
    visitor.upload(tmp_path / "half.jpg")
    visitor.expect_message("damaged or cut off")
    assert "Traceback" not in visitor.page.content()


@pytest.mark.slow
def test_two_visitors_see_each_their_own_picture(visit):
    one, other = visit(), visit()
    one.upload(EXAMPLES / "two_faces.jpg")
    other.upload(EXAMPLES / "astronaut.jpg")
    one.expect_message("2 faces were found")
    other.expect_message("looks like happiness")
    sizes = [visitor.page.eval_on_selector("#boxed img", "image => image.naturalWidth") for visitor in (one, other)]
    assert sizes == [920, 512]
