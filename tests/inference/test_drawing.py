"""Boxes and heat maps on pictures."""

import numpy as np
from PIL import Image

from fer_model.inference.drawing import draw_boxes, overlay
from helpers import EXAMPLES


def test_boxes_are_drawn_on_a_copy_with_the_selected_one_in_orange(two):
    before = two.image.tobytes()
    for selected in (0, 1):
        drawn = draw_boxes(two, selected)
        colours = [drawn.getpixel((face.box[0], (face.box[1] + face.box[3]) // 2)) for face in two.faces]
        assert [colour == (255, 140, 0) for colour in colours] == [selected == 0, selected == 1]
    assert two.image.tobytes() == before


def test_a_box_around_the_whole_picture_is_drawn_inside_it(pipeline):
    result = pipeline(EXAMPLES / "drawn_happiness.png")
    drawn = draw_boxes(result)
    assert drawn.size == (96, 96)
    assert drawn.getpixel((95, 60)) == drawn.getpixel((60, 95)) == (255, 140, 0)


def test_the_overlay_is_red_where_the_map_is_high_and_blue_where_it_is_low():
    heat = np.zeros((64, 64), dtype=np.float32)
    heat[:, 32:] = 1
    drawn = overlay(Image.new("RGB", (50, 50), "grey"), heat, size=100)
    red, _, blue = np.asarray(drawn).astype(int).transpose(2, 0, 1)
    assert (red[:, 70:] > blue[:, 70:] + 40).all()
    assert (blue[:, :30] > red[:, :30] + 40).all()


def test_the_overlay_without_opacity_is_the_face_in_grey(two):
    shown = np.asarray(overlay(two.faces[0].crop, two.faces[0].heat_map, opacity=0.0))
    assert shown.shape == (320, 320, 3)
    assert (shown[..., 0] == shown[..., 1]).all()
    assert shown.std() > 20
