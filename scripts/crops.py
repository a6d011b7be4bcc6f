"""Which crop suits the network: how large a square around the detector's box, and with eyes levelled or not.

    python scripts/crops.py --dataset ../shared/data/fer2013        # writes results/crops.json

Validation faces of the model's run, a sample with every class in proportion, are enlarged and laid into a larger
picture, once upright and once turned by 20 degrees. The detector searches each picture. Of what it finds the pipeline's
crop is taken at every margin. FER2013's faces have no surroundings, so their edge pixels are repeated: whether that
is kinder to loose crops than hair and walls would be is not known. The photos in examples/ have real surroundings, and
show one person.
"""

import statistics
import sys
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F
from tqdm.auto import tqdm

from fer_model import cli
from fer_model.data.fer2013 import load_fer
from fer_model.data.splits import stratified_split, validation_images
from fer_model.images import open_image
from fer_model.inference.crop import CROP_MARGIN, crop_face
from fer_model.inference.detector import Detection, shared_detector, whole_pixels
from fer_model.inference.pipeline import FERPipeline, Place
from fer_model.machine import keep_freed_memory
from fer_model.model.preprocess import to_face
from fer_model.runs import RESULTS, Run, write_json
from fer_model.studies.robustness import answers, lost, scores

MARGINS = (0.9, 1.0, CROP_MARGIN, 1.15, 1.25, 1.4)
TURN = 20
ENLARGED = 4
"""Times its own size: a face of 192 pixels."""

PHOTOS = ("astronaut.jpg", "two_faces.jpg")


def picture(face: Tensor, turn: float) -> Image.Image:
    """RGB, 384 x 384 pixels: a face, uint8 (1, 48, 48), enlarged in the middle and turned clockwise by degrees."""
    side = ENLARGED * face.shape[-1]
    large = F.resize(face, [side], InterpolationMode.BICUBIC)
    padded = F.pad(large, [side], padding_mode="edge")
    turned = F.rotate(padded, -turn, InterpolationMode.BILINEAR)
    return F.to_pil_image(F.center_crop(turned, [2 * side])).convert("RGB")


def crop(photo: Image.Image, found: Detection, margin: float, level: bool) -> Image.Image:
    """What the pipeline would cut out if its margin were this."""
    left, top, right, bottom = found.box
    # the side is the longer one of the box times CROP_MARGIN
    across, down = ((margin / CROP_MARGIN - 1) * length / 2 for length in (right - left, bottom - top))
    box = whole_pixels((left - across, top - down, right + across, bottom + down))
    return crop_face(photo, box, found.tilt if level else 0.0)


def measure(pipeline: FERPipeline, faces: Tensor, labels: Tensor, turn: float) -> dict:
    """The scores of all margins on the faces that are found in their pictures, and what is lost against the default."""
    pictures = [picture(face, turn) for face in faces]
    detected = [shared_detector().detect(photo) for photo in tqdm(pictures, desc="detecting", leave=False)]
    kept = [index for index, found in enumerate(detected) if found]
    longer = [max(box[2] - box[0], box[3] - box[1]) for box in (detected[index][0].box for index in kept)]
    found = {}
    for margin, level in tqdm(list(product(MARGINS, (True, False))), desc="crops", leave=False):
        crops = [crop(pictures[index], detected[index][0], margin, level) for index in kept]
        found[margin, level] = answers(pipeline.model, torch.stack([to_face(one) for one in crops]), labels[kept])
    default, _ = found[CROP_MARGIN, True]
    rows = [
        {"margin": margin, "level_eyes": level, **scores(correct, confidence), "lost": lost(default, correct)}
        for (margin, level), (correct, confidence) in found.items()
    ]
    return {
        "pictures": len(faces),
        "found": len(kept),
        "turned": turn,
        "box": statistics.median(longer) / (ENLARGED * faces.shape[-1]),  # of the face's side, as FER2013 crops it
        "as_stored": scores(*answers(pipeline.model, faces[kept], labels[kept])),
        "crops": rows,
    }


def measure_photos(pipeline: FERPipeline) -> list[dict]:
    """The answers to the faces of the example photos at all margins."""
    rows = []
    for name in PHOTOS:
        photo = open_image(ROOT / "examples" / name)
        for number, found in enumerate(shared_detector().detect(photo), start=1):
            for margin in MARGINS:
                for level in (True, False):
                    cut = crop(photo, found, margin, level)
                    (face,) = pipeline.recognise(cut, [Place((0, 0, *cut.size), None, 0.0)], heat_maps=False)
                    answer = {"answer": face.label, "probability": face.probabilities[face.label]}
                    rows.append({"photo": name, "face": number, "margin": margin, "level_eyes": level, **answer})
    return rows


def main() -> None:
    parser = cli.parser("crops.py", __doc__)
    parser.add_argument("--version", default="v3", help="the model in results/VERSION (default: %(default)s)")
    parser.add_argument("--dataset", required=True, metavar="ID_OR_PATH", help="FER2013")
    parser.add_argument("--images", type=cli.positive, default=150, metavar="N", help="faces (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "crops.json", metavar="FILE", help="(default: %(default)s)"
    )
    args = parser.parse_args()
    cli.require_files(args.output)
    keep_freed_memory()
    run = Run(RESULTS / args.version)
    pipeline = FERPipeline.from_pretrained(run.models, device="cpu")
    faces = validation_images(
        run.required_history()["run"], load_fer(args.dataset, classes=len(pipeline.model.class_names))
    )
    sample = faces.subset(stratified_split(faces.labels, args.images / len(faces), seed=0)[1])
    found = [measure(pipeline, sample.images, sample.labels, turn) for turn in (0, TURN)]
    command = cli.repeat(["python", "scripts/crops.py"], args, ("version", "dataset", "images"))
    result = {
        "command": command,
        "version": args.version,
        "model_sha256": pipeline.model.digest(),
        "margin": CROP_MARGIN,
        "faces": found,
        "photos": measure_photos(pipeline),
    }
    write_json(args.output, result)
    for part in found:
        print(f"turned by {part['turned']}: {part['found']} of {part['pictures']} found", end="; ")
        print(f"as stored {part['as_stored']['accuracy']['value']:.1%}")
        for row in part["crops"]:
            low, high = row["accuracy"]["ci"]
            print(
                f"  margin {row['margin']:.2f} {'levelled' if row['level_eyes'] else 'as it is':<9}"
                f"{row['accuracy']['value']:.1%} ({low:.1%} to {high:.1%}), ECE {row['ece']:.3f}, "
                f"lost {row['lost']['value']:.1%}"
            )
    print(f"written: {args.output}")


if __name__ == "__main__":
    cli.run("crops.py", main)
