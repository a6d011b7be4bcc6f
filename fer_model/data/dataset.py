"""Labelled faces, their mini-batches, and their fingerprint."""

import hashlib
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True)
class FERData(Dataset):
    """Labelled faces, in the order of the dataset.

    images: uint8 (N, 1, 48, 48), values in [0, 255]. labels: int64 (N,), indices of `EMOTIONS_WITH_NEUTRAL`.
    usage: FER2013's own split name of each row ("Training", "PublicTest", "PrivateTest"), if the dataset has it.
    left_out: how many images of other classes the dataset holds, by their names.
    """

    images: Tensor
    labels: Tensor
    usage: tuple[str, ...] | None = None
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """A whole mini-batch at once, for DataLoader: images, labels and the indices themselves."""
        index = torch.tensor(indices)
        return self.images[index], self.labels[index], index

    def subset(self, indices: Tensor) -> "FERData":
        usage = tuple(self.usage[i] for i in indices.tolist()) if self.usage else None
        return FERData(self.images[indices], self.labels[indices], usage, self.left_out)

    def to(self, device: torch.device) -> "FERData":
        """The same faces and labels on a device. All of FER2013 takes 66 MB there."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def joined(self, other: "FERData") -> "FERData":
        """These faces, then the other ones."""
        usage = self.usage + other.usage if self.usage and other.usage else None
        images, labels = torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels])
        return FERData(images, labels, usage, self.left_out)


def batches(data: FERData, batch_size: int) -> DataLoader:
    """Mini-batches of (images, labels, indices). Each is one tensor look-up, so there are no worker processes."""
    return DataLoader(data, batch_size=batch_size, collate_fn=lambda batch: batch)


def shuffled(count: int, batch_size: int) -> DataLoader:
    """Mini-batches of indices below `count`, in another order every epoch: the images may lie on a GPU already."""
    return DataLoader(range(count), batch_size=batch_size, shuffle=True, collate_fn=torch.tensor)  # type: ignore[arg-type]


def fingerprint(images: Tensor) -> str:
    """SHA-256 over the pixels of images, by which two sets of them are compared."""
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()
