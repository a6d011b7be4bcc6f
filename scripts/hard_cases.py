"""Images that invite an answer that is wrong and sure, before and after the pipeline's second look at each crop.

    python scripts/hard_cases.py --version v3 --dataset ../shared/data/fer2013      # results/hard_cases.json

The images are made here from a fixed seed: faces turned, halved and covered, and what is no face. A face's right answer
is that to its upright, uncovered photo. For what is no face, only "unsure" and "no face" are fine. With --dataset it
also says what the second look costs: how many of FER2013's faces, shown as face crops, are doubted or turned.
It takes ten minutes on two cores.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import cv2
import numpy as np
import torch
from draw import EXPRESSIONS, draw_face
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from fer_model import FERModel, FERPipeline, cli
from fer_model.data.dataset import FERData
from fer_model.data.fer2013 import load_fer
from fer_model.data.splits import validation_images
from fer_model.inference import pipeline as module
from fer_model.inference.crop import crop_face
from fer_model.inference.detector import shared_detector
from fer_model.inference.guards import look
from fer_model.machine import environment
from fer_model.model.preprocess import preprocess
from fer_model.runs import Run, write_json

OUTCOMES = ("right", "unsure", "no face", "wrong and sure")
SMALL = (32, 48, 64, 96)
GREY = (128, 128, 128)
SYMBOLS = "☎✈☂★✂☀♞♫✉✿⌛⚙⚓⚑☕♥♣☢☯✎⌂☁⚽♜❄⚡"


def main() -> None:
    parser = cli.parser("hard_cases.py", __doc__)
    cli.add_version_argument(parser, "the model in results/VERSION")
    parser.add_argument("--dataset", metavar="ID_OR_PATH", help="FER2013, for the cost (default: not measured)")
    args = parser.parse_args()
    run = Run(ROOT / "results" / args.version)
    pipeline = FERPipeline.from_pretrained(run.models, device="cpu")
    cases = list(hard_cases())
    result = {
        "command": cli.repeat(["python", "scripts/hard_cases.py"], args, ("version", "dataset")),
        "version": args.version,
        "before": outcomes(pipeline, cases, guarded=False),
        "after": outcomes(pipeline, cases, guarded=True),
        "cost": cost(pipeline.model, run, args.dataset) if args.dataset else None,
        "environment": environment(torch.device("cpu")),
    }
    write_json(ROOT / "results" / "hard_cases.json", result)
    print(f"{'':<28}{'':>7}" + "".join(f"{name:>16}" for name in OUTCOMES))
    for kind in result["after"]:
        for time in ("before", "after"):
            print(f"{kind:<28}{time:>7}" + "".join(f"{result[time][kind][name]:>16}" for name in OUTCOMES))
    print(result["cost"] or "the cost was not measured: give --dataset")


def outcomes(pipeline: FERPipeline, cases: list, guarded: bool) -> dict[str, dict[str, int]]:
    """How many images of each kind end in which of `OUTCOMES`. The largest face's answer counts."""
    unchecked = mock.patch.object(module, "checked", module.checked if guarded else lambda photo, place, level: place)
    counts: dict[str, Counter] = {}
    with unchecked:
        for kind, image, truth in tqdm(cases, unit="image", desc="guarded" if guarded else "unguarded"):
            faces = pipeline(image, heat_maps=False).faces
            if not faces:
                outcome = "no face"
            elif faces[0].unsure:
                outcome = "unsure"
            else:
                outcome = "right" if truth and faces[0].label == answer(pipeline, truth) else "wrong and sure"
            counts.setdefault(kind, Counter())[outcome] += 1
    return {kind: {name: count[name] for name in OUTCOMES} for kind, count in counts.items()}


def answer(pipeline: FERPipeline, photo: Image.Image) -> str:
    return pipeline(photo, heat_maps=False).faces[0].label


# The images: (kind, image, the upright photo of its face, or None where it shows none)


def hard_cases() -> Iterator[tuple[str, Image.Image, Image.Image | None]]:
    for photo, crop in upright_faces():
        for degrees in range(30, 360, 30):
            yield "turned faces", photo.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=GREY), photo
        for degrees in (90, 180, 270):
            for side in (48, 64, 96):
                yield "turned face crops", crop.resize((side, side)).rotate(degrees), photo
        width, height = crop.size
        halves = ((0, 0, width // 2, height), (width // 2, 0, width, height))
        for box in (*halves, (0, 0, width, height // 2), (0, height // 2, width, height)):
            yield "half faces", crop.crop(box).resize((96, 96)), photo
            covered = crop.copy()
            covered.paste(GREY, box)
            yield "half faces", covered.resize((64, 64)), photo
        for cover in (hand, bar, mask, glasses):
            covered = crop.copy()
            cover(ImageDraw.Draw(covered), width)
            yield "covered faces", covered.resize((96, 96)), photo
            framed = Image.new("RGB", (2 * width, 2 * height), GREY)
            framed.paste(covered, (width // 2, height // 2))
            yield "covered faces", framed.resize((320, 320)), photo
    for kind, image in no_faces():
        yield kind, image, None


def upright_faces() -> Iterator[tuple[Image.Image, Image.Image]]:
    """Two photos and three drawings, and the square of the face in each."""
    photos = [Image.open(ROOT / "examples" / "astronaut.jpg").convert("RGB")]
    hopper = package("matplotlib") / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    photos.append(Image.open(hopper).convert("RGB"))  # a work of the US Navy, in the public domain
    for photo in photos:
        face = shared_detector().detect(photo)[0]
        yield photo, crop_face(photo, face.box, face.tilt)
    for expression in EXPRESSIONS.values():
        drawing = draw_face(**expression).convert("RGB")
        yield drawing, drawing


def package(name: str) -> Path:
    return Path(find_spec(name).submodule_search_locations[0])


def hand(draw: ImageDraw.ImageDraw, side: int) -> None:
    for finger in range(4):
        top = (0.6 + 0.085 * finger) * side
        draw.rounded_rectangle((0.2 * side, top, 0.85 * side, top + 0.08 * side), 0.04 * side, (205, 160, 135))
    draw.ellipse((0.7 * side, 0.55 * side, 1.1 * side, 1.1 * side), (195, 150, 125))


def bar(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.rectangle((0, 0.65 * side, side, 0.85 * side), "black")


def mask(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.rounded_rectangle((0.12 * side, 0.52 * side, 0.88 * side, side), 0.15 * side, (225, 235, 245))


def glasses(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.rectangle((0.1 * side, 0.28 * side, 0.9 * side, 0.48 * side), (20, 20, 20))


def no_faces() -> Iterator[tuple[str, Image.Image]]:
    random = np.random.default_rng(0)
    for side in (*SMALL * 5, 240):
        yield "noise", to_image(random.integers(0, 256, (side, side, 3)))
        yield "noise", to_image(random.integers(0, 256, (side, side)))
        blurred = cv2.GaussianBlur(random.normal(size=(side, side)), (0, 0), side / 12)
        yield "noise", to_image(128 + 50 * blurred / blurred.std())
    for level in range(0, 256, 15):
        yield "plain colours", Image.new("RGB", (48, 48), (level, level, level))
        yield "plain colours", Image.new("RGB", (64, 64), tuple(random.integers(0, 256, 3).tolist()))
    for side in SMALL:
        across = np.linspace(0, 255, side)
        around = np.hypot(*np.meshgrid(across - 127, across - 127))
        for slope in (np.tile(across, (side, 1)), np.add.outer(across, across) / 2, around, 255 - around):
            yield "gradients", to_image(slope)
            yield "gradients", to_image(255 - slope.T)
    font = ImageFont.truetype(package("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", 52)
    for symbol in SYMBOLS:
        for ground, ink in (("white", "black"), ("#2266cc", "white"), ("#333333", "#ffcc33")):
            icon = Image.new("RGB", (64, 64), ground)
            ImageDraw.Draw(icon).text((32, 32), symbol, ink, font, "mm")
            yield "icons", icon
    for file in sorted((package("matplotlib") / "mpl-data" / "images").glob("*.png")):
        yield "icons", Image.open(file)
    for fur in ((60, 60, 60), (220, 150, 70), (235, 235, 235)):
        for side in (48, 64, 96, 300):
            yield "drawn cats", cat(fur).resize((side, side), Image.Resampling.LANCZOS)
    images = package("gradio") / "media_assets" / "images"
    for name, heads in (("cheetah1.jpg", (50, 25, 190, 165)), ("lion.jpg", (75, 5, 165, 125))):
        photo = Image.open(images / name).convert("RGB")
        yield "photos of animals", photo
        for side in SMALL:
            yield "photos of animals", photo.resize((side, side))
            yield "photos of animals", photo.crop(heads).resize((side, side))
    tower = Image.open(images / "tower.jpg").convert("RGB")
    for _ in range(40):
        side = int(random.integers(60, 300))
        left, top = (int(random.integers(length - side)) for length in tower.size)
        yield "pieces of a photo", tower.crop((left, top, left + side, top + side)).resize((64, 64))


def to_image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")


def cat(fur: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (192, 192), (150, 190, 220))
    draw = ImageDraw.Draw(image)
    for side in (-1, 1):
        draw.polygon([(96 + side * x, y) for x, y in ((25, 60), (75, 15), (78, 95))], fur)
    draw.ellipse((20, 40, 172, 180), fur)
    for side in (-1, 1):
        x = 96 + side * 34
        draw.ellipse((x - 18, 82, x + 18, 112), (170, 210, 90))
        draw.ellipse((x - 5, 82, x + 5, 112), (10, 10, 10))
        for y in (130, 140, 150):
            draw.line((96 + side * 16, 138, 96 + side * 80, y), (250, 250, 250), 2)
        draw.arc((96 + side * 14 - 14, 136, 96 + side * 14 + 14, 160), 0, 180, (10, 10, 10), 3)
    draw.polygon([(86, 125), (106, 125), (96, 137)], (200, 110, 120))
    return image


# What the second look costs


def cost(model: FERModel, run: Run, dataset: str) -> dict:
    """Shares of FER2013's upright faces, as face crops, that are doubted or turned; accuracy before and after."""
    validation = validation_images(run.required_history()["run"], load_fer(dataset, "train"))
    return {
        name: looked_at(model, data, name)
        for name, data in (("validation", validation), ("test", load_fer(dataset, "test")))
    }


def looked_at(model: FERModel, data: FERData, name: str) -> dict[str, float]:
    crops = [Image.fromarray(image[0].numpy()).convert("RGB") for image in data.images]
    looks = [look(crop) for crop in tqdm(crops, unit="image", desc=f"looking at {name} images")]
    turned = torch.stack(
        [image.rot90(seen.turned // 90, (1, 2)) for image, seen in zip(data.images, looks, strict=True)]
    )
    before, after = (probabilities(model, images) for images in (data.images, turned))
    is_face = torch.tensor([seen.is_face for seen in looks])
    return {
        "images": len(data),
        "doubted": float((~is_face).float().mean()),
        "turned": float(np.mean([seen.turned != 0 for seen in looks])),
        "accuracy_before": float((before.argmax(dim=1) == data.labels).float().mean()),
        "accuracy_after": float((after.argmax(dim=1) == data.labels).float().mean()),
        "wrong_and_sure_before": wrong_and_sure(model, before, data.labels),
        "wrong_and_sure_after": wrong_and_sure(model, after, data.labels, is_face),
    }


@torch.inference_mode()
def probabilities(model: FERModel, images: torch.Tensor) -> torch.Tensor:
    parts = images.split(128)
    return torch.cat([model.probabilities(model(preprocess(part, model.input_size))) for part in parts])


def wrong_and_sure(model: FERModel, found: torch.Tensor, labels: torch.Tensor, trusted: torch.Tensor | bool = True):
    confidence, predicted = found.max(dim=1)
    return float(((predicted != labels) & (confidence >= model.unsure_below) & trusted).float().mean())


if __name__ == "__main__":
    cli.run("hard_cases.py", main)
