"""Facial-expression recognition: six classes, trained on FER2013, with heat maps."""

from fer_model.inference.pipeline import FERPipeline
from fer_model.model.network import FERModel

__all__ = ["FERModel", "FERPipeline"]
