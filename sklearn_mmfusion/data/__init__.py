"""Containers of multimodal data: what users pass, and what the models compute with."""

from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData, ModalityLayout
from sklearn_mmfusion.data._frame import ModalityFrame
from sklearn_mmfusion.data._lazy import LazyArray

__all__ = ["LazyArray", "ModalityBlock", "ModalityData", "ModalityFrame", "ModalityLayout"]
