"""Batches of a dataset."""

import pytest
import torch

from fer_model.data.dataset import FERData, batches


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_every_image_once_with_its_label_and_index(shuffle):
    data = FERData(torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1), torch.arange(10) % 6)
    torch.manual_seed(0)
    loader = batches(data, batch_size=4, shuffle=shuffle)
    images, labels, indices = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert [len(batch[0]) for batch in loader] == [4, 4, 2]
    assert sorted(indices.tolist()) == list(range(10))
    assert (indices.tolist() == list(range(10))) is not shuffle
    assert torch.equal(images, data.images[indices])
    assert torch.equal(labels, data.labels[indices])
