"""Writes fer_model/vendor/ferplus/votes.npz: FER+'s votes by a hash of each image.

python scripts/vendor_votes.py --dataset ../shared/data/fer2013 --votes ../shared/data/ferplus/votes.parquet

`votes.parquet` holds FER+'s votes row for row as --dataset gives the images, in columns of FER+'s own names. The same
images and votes give the same file, byte for byte. No image can be restored from a hash.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fer_model.data.duplicates import blank
from fer_model.data.fer2013 import load_fer
from fer_model.data.votes import ANSWERS, VOTES_FILE, difference_hash, pack
from fer_model.labels import EMOTIONS_WITH_NEUTRAL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="all of FER2013, in the rows' order")
    parser.add_argument("--votes", required=True, type=Path, help="votes.parquet")
    parser.add_argument("--output", type=Path, default=VOTES_FILE, help="default: %(default)s")
    args = parser.parse_args()
    rows = parquet.read_table(args.votes).to_pandas()
    columns = [{"not a face": "NF"}.get(name, name) for name in ANSWERS]
    found = {}
    for split in ("train", "test"):
        faces = load_fer(args.dataset, split, classes=len(EMOTIONS_WITH_NEUTRAL)).images
        part = rows[rows["split"] == split].sort_values("row")
        if len(part) != len(faces):
            sys.exit(f"{args.votes} has {len(part)} rows of {split}, and {args.dataset} {len(faces)} images")
        kept = ~blank(faces).numpy()  # images of a single grey are all alike
        votes = part[columns].fillna(0).to_numpy().astype(np.int64)[kept]
        hashes, place = np.unique(pack(difference_hash(faces))[kept], axis=0, return_inverse=True)
        sums = np.zeros((len(hashes), len(columns)), dtype=np.int64)
        np.add.at(sums, place, votes)  # images of one hash share their votes
        found |= {f"{split}_hashes": hashes, f"{split}_votes": sums.astype(np.uint8)}
        print(
            f"{split}: {len(faces):,} images, {len(hashes):,} hashes, {int(sums.sum()):,} votes, at most {sums.max()}"
        )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.output, **found)
    print(f"written: {args.output}, {args.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
