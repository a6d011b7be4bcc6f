"""The whole page in headless Chromium: the models' figures, and what holds for every tab."""

import json
import re

import pytest

from helpers import EXAMPLES, ROOT
from helpers.browser import expect, video_of

AXE = ROOT / "tests" / "node_modules" / "axe-core" / "axe.min.js"

needs_axe = pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed (npm ci --prefix tests)")

TABS = ("Photo", "Live", "Videos and many pictures", "About the model")


def test_the_models_figures_and_pictures_are_those_in_results(visit, address):
    visitor = visit(viewport={"width": 1440, "height": 1000})
    visitor.open_tab("About the model")
    page = visitor.page
    table = page.inner_text("#scores")
    for name in ("V1", "V2", "V3"):
        figures = json.loads((ROOT / "results" / name.lower() / "metrics.json").read_text())
        assert f"{figures['accuracy']:.1%}" in table
        page.get_by_role("radio", name=name, exact=True).check()
        expect(page.locator("#figures img").first).to_have_attribute("src", re.compile(f"/{name.lower()}/"))
        images = page.locator("#figures img").all()
        assert len(images) == 5
        for image in images:
            image.scroll_into_view_if_needed()
            image.evaluate("image => image.decode()")
            assert name in image.get_attribute("alt")
    assert "An expression is not an emotion" in page.inner_text("body")
    assert visitor.complaints == []


@needs_axe
def test_axe_finds_nothing_serious_beside_a_photo(visit):
    visitor = visit(viewport={"width": 1440, "height": 900})
    visitor.recognise(EXAMPLES / "two_faces.jpg", "2 faces were found")
    seen = serious(visitor.page, "photo")
    assert seen == [], "\n".join(seen)


@needs_axe
@pytest.mark.slow
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
    visitor.start_camera()
    page.wait_for_selector("#live-chart .fer-bars")
    seen += serious(page, "live")
    visitor.open_tab("About the model")
    page.wait_for_selector("#figures img")
    seen += serious(page, "about")
    visitor.open_tab("Videos and many pictures")
    page.wait_for_selector("#film")
    seen += serious(page, "no video yet")
    visitor.upload(video_of("two_faces.jpg", tmp_path / "video.mp4", seconds=0.5), "#film")
    page.wait_for_selector("#film video")
    page.locator("#film-start").click()
    page.wait_for_selector("#film-out video")
    visitor.upload(EXAMPLES / "two_faces.jpg", "#pictures")
    page.wait_for_selector("#pictures .file-preview")
    page.locator("#pictures-start").click()
    visitor.expect_text("#pictures-message", "2 faces")
    seen += serious(page, "videos")
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


@pytest.mark.parametrize("query", ["?__theme=light", pytest.param("?__theme=dark", marks=pytest.mark.slow)])
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
    assert sum("Heat map for" in (text or "") for text in described) == 7


def test_the_page_says_what_it_cannot_do_and_that_nothing_is_stored(visit):
    visitor = visit()
    text = visitor.page.inner_text("body")
    assert "Which of seven expressions" in text
    assert "An expression is not an emotion" in text
    assert "Nothing is stored" in text
