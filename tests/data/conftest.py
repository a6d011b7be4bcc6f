"""What the tests of this folder share."""

import pytest

from helpers import synthetic


@pytest.fixture
def parquet(tmp_path):
    """Writes a parquet dataset from one table for each split."""
    return lambda **splits: synthetic.write_parquet(tmp_path / "parquet", **splits)
