"""Facial-expression recognition: six classes, trained on FER2013, with Grad-CAM."""

from fer_model.modeling import FERModel
from fer_model.pipeline import FERPipeline

__all__ = ["FERModel", "FERPipeline"]
