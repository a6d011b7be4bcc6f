"""The live tab in headless Chromium, whose camera shows the astronaut, swaying."""

import re

import pytest

from fer_model.demo.tabs.live import FRAME_SIZE
from fer_model.labels import EMOTIONS_WITH_NEUTRAL
from helpers.browser import expect


def test_the_camera_shows_boxes_and_smoothed_probabilities_and_stops_cleanly(visit):
    visitor = visit(viewport={"width": 1440, "height": 1000})
    page = visitor.page
    visitor.start_camera()
    page.wait_for_selector("#camera svg rect", state="attached")
    visitor.expect_text("#camera svg text", re.compile(r"^1 \w+"))
    visitor.expect_text(".fer-rate", re.compile(r"[\d.]+ answers a second"))
    assert tuple(visitor.probabilities("#live-chart")) == EMOTIONS_WITH_NEUTRAL
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


@pytest.mark.slow
def test_boxes_and_the_heat_map_of_the_camera_can_be_chosen(visit):
    visitor = visit()
    visitor.start_camera()
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


@pytest.mark.slow
def test_no_frame_is_sent_while_another_tab_is_open_and_one_at_a_time_afterwards(visit):
    visitor = visit(script=COUNT_FRAMES)
    visitor.start_camera()
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


@pytest.mark.slow
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
    visitor.start_camera()
    visitor.page.get_by_role("button", name="Start the camera").click()
    visitor.page.wait_for_selector("#camera svg rect", state="attached")
    assert visitor.page.evaluate("window.asked") == 1


@pytest.mark.parametrize(
    ("name", "sentence"), [("NotAllowedError", "was not allowed"), ("NotFoundError", "No camera was found")]
)
def test_a_camera_that_cannot_be_had_is_a_sentence(visit, name, sentence):
    refuse = f"navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', '{name}'));"
    visitor = visit(script=refuse)
    visitor.start_camera()
    visitor.expect_text("#camera", sentence)
    expect(visitor.page.get_by_role("button", name="Start the camera")).to_be_visible()
