"""Containers of multimodal data: what users pass, and what the models compute with."""

from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData, ModalityLayout
from sklearn_mmfusion.data._frame import ModalityFrame

__all__ = ["ModalityBlock", "ModalityData", "ModalityFrame", "ModalityLayout"]
