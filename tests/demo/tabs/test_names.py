"""Names of files are text on the page, whatever they hold."""

import pytest

from helpers.browser import SLOW, expect
from helpers.visitors import as_png, rows_of, zipped

NAMES = [
    "<img src=x onerror=fired=1>.png",
    '"><svg onload=fired=1>.png',
    "' onmouseover='fired=1.png",
    "<iframe srcdoc='<img src=x onerror=parent.fired=1>'>.png",
    "[link](javascript:fired=1) ![](x).png",
    "\u202egnp.exe \u2067.png",
]
"""What runs sets `fired` in the page. No name of a file holds a slash."""


@pytest.fixture
def visitor(visit):
    """One in whose page nothing may run, open a dialog, or ask for what is not the page's own."""
    visitor = visit(viewport={"width": 1440, "height": 1000})
    dialogs = []
    visitor.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    yield visitor
    assert visitor.page.evaluate("window.fired") is None
    assert visitor.page.locator("[onerror], [onload], [onmouseover], [srcdoc], [href^=javascript]").count() == 0
    assert dialogs == []
    # a name that became a picture would be asked for
    assert not [address for address in visitor.requests if address.endswith(("/x", "evil"))]


def test_names_in_archives_and_of_many_pictures_are_shown_as_text(visitor, tmp_path):
    inside = {name: as_png() for name in NAMES} | {f"broken {NAMES[0]}": b"", f"{NAMES[0]}.txt": b"", "</td>": b""}
    archive = zipped(tmp_path / "<b onload=fired=1>all.zip", inside)
    for name in NAMES:
        (tmp_path / name).write_bytes(as_png())
    visitor.open_tab("Videos and many pictures")
    page = visitor.page
    page.set_input_files("#pictures input[type=file]", [str(archive), *(str(tmp_path / name) for name in NAMES)])
    expect(page.locator("#pictures .file-preview tr")).to_have_count(1 + len(NAMES), timeout=SLOW)
    preview = page.locator("#pictures .file-preview").inner_text()
    for name in NAMES:
        assert name.removesuffix(".png") in preview
    page.locator("#pictures-start").click()
    visitor.expect_text("#pictures-message", "0 faces in 13 pictures. 2 other files passed over")
    for name in inside:
        cell = page.locator("#pictures-table [role=gridcell]", has_text=f"all.zip/{name}").first
        expect(cell).to_be_visible(timeout=SLOW)
        cell.hover()
    with page.expect_download() as download:
        page.locator("#pictures-file a").first.click()
    told = [row["file"] for row in rows_of(download.value.path())]
    assert [name.partition("/")[2] for name in told if "all.zip/" in name] == list(inside)


def test_the_name_of_one_photo_or_video_is_no_html_either(visitor, tmp_path):
    name = " ".join(NAMES)
    (tmp_path / name).write_bytes(b"no picture")
    visitor.upload(tmp_path / name)
    visitor.expect_message("The file is not an image")
    visitor.open_tab("Videos and many pictures")
    film = (tmp_path / name).rename(tmp_path / name.replace(".png", ".mp4"))
    visitor.upload(film, "#film")
    visitor.page.wait_for_selector("#film video")
    visitor.page.locator("#film-start").click()
    expect(visitor.page.get_by_text("is not a video that can be read")).to_be_visible(timeout=SLOW)
