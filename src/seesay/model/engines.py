"""What computes a model's rows: torch in float32, one by one, int8 or bfloat16, ONNX Runtime, or OpenVINO.

B = images or texts, L = longest of them in ids, S = side in pixels, W = width of features, D = embedding width.
"""

import copy
import functools
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from seesay.base.errors import UsageError, as_hint, nearest
from seesay.base.extras import needing
from seesay.base.records import Tokens
from seesay.base.streams import say
from seesay.model.compact_weights import SHORT_NAMES, refuse_compact
from seesay.model.encode import PRECISIONS, refuse_cut
from seesay.model.int8 import int8_parts
from seesay.model.int8_centres import centres_of
from seesay.model.onnx_graphs import dual_encoder, refuse_tower
from seesay.model.onnx_images import IMAGE_TOWERS, image_graph
from seesay.model.onnx_texts import TEXT_TOWERS, text_graph
from seesay.model.packed import packed_parts
from seesay.nets.clip import Clip, DualEncoder
from seesay.nets.siglip import SiglipText

if TYPE_CHECKING:
    from seesay.model.bundle import Model

# Each engine, and the packages that it needs beside those of seesay; the extra is called as the engine.
ENGINES: dict[str, tuple[str, ...]] = {
    "torch": (),
    "torch-exact": (),
    "torch-packed": (),
    "torch-int8": (),
    "torch-bf16": (),
    "openvino": ("onnx", "openvino"),
    "onnx": ("onnx", "onnxruntime"),
}
# Those that compute on the CPU wherever the model is.
ON_CPU = ("torch-exact", "torch-packed", "torch-int8", "openvino", "onnx")
# Those whose rows are not the model's own up to rounding in float32.
ROUNDED = ("torch-int8", "torch-bf16")
# Texts of about one length that are computed together: a guess, enough for a core to be busy.
TEXTS_AT_ONCE = 32
# A file of a graph, or its bytes, to what computes its outputs.
Session = Callable[[np.ndarray], list[np.ndarray]]
OpenGraph = Callable[[bytes | Path], Session]


class Encoder(Protocol):
    """What `Model` asks its towers for; a `Clip` of torch is one."""

    def embed_images(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to unit rows (B, D)."""
        ...

    def embed_texts(self, tokens: Tokens) -> Tensor:
        """Token ids to unit rows (B, D)."""
        ...

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, W)."""
        ...

    def embed_features(self, features_BW: Tensor) -> Tensor:
        """Features to unit rows (B, D)."""
        ...


def check_engine(name: str) -> str:
    """The name as it is; `UsageError` for one that is no engine, or whose packages are missing."""
    if name not in ENGINES:
        raise UsageError(f"engine {name!r} is not known.{nearest(name, ENGINES)} Known: {', '.join(ENGINES)}.")
    for package in ENGINES[name]:
        refuse_missing(name, package)
    return name


def refuse_missing(extra: str, package: str) -> None:
    """`UsageError` where a package of `seesay[extra]` is not installed."""
    with needing(extra, package=package, why=f"{extra} needs"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(name=package)


def installed_engines() -> list[str]:
    """The engines whose packages are here."""
    return [name for name, packages in ENGINES.items() if all(find_spec(package) for package in packages)]


def refuse_altered(model: "Model", verb: str, *, may_be_cut: bool = False) -> None:
    """`UsageError` for a model that is only to encode with: rounded, or its rows are cut or computed by something else
    than torch. The verb is what is to be done to the one that it was made of."""
    refuse_compact(model)
    if not may_be_cut:
        refuse_cut(model, verb)
    if model.engine != "torch" or model.precision != "float32":
        how = f"computed by {model.engine}" if model.engine != "torch" else f"rounded to {model.precision}"
        raise UsageError(f"{model.name} is {how}, and is only to encode with; {verb} the model it was made of.")


def in_precision(model: "Model", precision: str) -> Clip:
    """The model's towers with the weights of matrix products rounded; all others are in the same memory as before.

    Inside `rounding` the products are what they would be of the weights as they were, without rounding them each time.
    """
    if model.encoder is not None:
        raise UsageError(f"{model.name} is computed by {model.engine}, which has a precision of its own.")
    if precision not in PRECISIONS:
        name = str(precision).removeprefix("torch.")
        hint = as_hint([SHORT_NAMES[name]]) if name in SHORT_NAMES else nearest(name, PRECISIONS)
        raise UsageError(f"precision {precision!r} is not known.{hint} Known: {', '.join(PRECISIONS)}.")
    if precision == model.precision:
        return model.clip
    refuse_rounded(model)
    return same_weights(model.clip, PRECISIONS[precision])


def refuse_rounded(model: "Model") -> None:
    """`UsageError` for a model that has no float32 weights."""
    refuse_compact(model)
    if model.precision != "float32":
        raise UsageError(f"{model.name} is in {model.precision}, and its exact weights are gone; load it again.")


def same_weights(clip: Clip, dtype: torch.dtype, *, device: str | None = None) -> Clip:
    """The towers with weights in the same memory, but for those of products where `dtype` is another, and on a device.

    The parameters are others: to move one of the two models is not to move half of the other.
    """
    memo: dict[int, Any] = {id(buffer): buffer.to(device=device) for buffer in clip.buffers()}
    for module in clip.modules():
        is_product = isinstance(module, nn.Linear | nn.Conv2d)
        for own in module.parameters(recurse=False):
            weights = own.detach().to(device=device, dtype=dtype if is_product else None)
            memo[id(own)] = nn.Parameter(weights, requires_grad=False)
    return copy.deepcopy(clip, memo)


def encoder_of(model: "Model", engine: str) -> Encoder:
    """The towers of a float32 model as that engine computes them; `UsageError` for a model that it cannot compute."""
    if not model.embeds_texts:
        raise UsageError(f"{model.name} predicts captions, and engine {engine} is for models that embed texts.")
    if engine == "torch-exact":
        return OneByOne(dual_encoder(model.name, model.clip))
    if engine in IN_BLOCKS:
        return towers_with(model, engine)
    refuse_unexportable(model)
    return GraphEncoder.of(model, OPENERS[engine])


def refuse_unexportable(model: "Model") -> None:
    """`UsageError` with the reason for a model one of whose encoders has no graph."""
    clip = dual_encoder(model.name, model.clip)
    refuse_tower(model.name, "image", clip.image_tower, IMAGE_TOWERS)
    refuse_tower(model.name, "text", clip.text_tower, TEXT_TOWERS)


class OneByOne:
    """The towers of torch, which get one image or text at a time: a row is the same bits whatever else is encoded.

    Products of matrices of another size are rounded in another order. Each image has memory of its own, as they may
    depend on where in it numbers lie.
    """

    def __init__(self, clip: DualEncoder):
        self._clip = clip

    def embed_images(self, pixels_B3SS: Tensor) -> Tensor:
        """As `Encoder`, (B, D)."""
        return torch.cat([self._clip.embed_images(image.clone()) for image in pixels_B3SS.split(1)])

    def embed_texts(self, tokens: Tokens) -> Tensor:
        """As `Encoder`, (B, D)."""
        texts = zip(tokens.ids_BL, tokens.length_B.split(1), strict=True)
        alone = [Tokens(ids_BL=ids_L[None, : int(length)].clone(), length_B=length) for ids_L, length in texts]
        return torch.cat([self._clip.embed_texts(text) for text in alone])

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """As `Encoder`, (B, W)."""
        return torch.cat([self._clip.features(image.clone()) for image in pixels_B3SS.split(1)])

    def embed_features(self, features_BW: Tensor) -> Tensor:
        """As `Encoder`, (B, D)."""
        return torch.cat([self._clip.embed_features(row.clone()) for row in features_BW.split(1)])


class GraphEncoder:
    """The two graphs of a model in a runtime; each is made and opened when it is first asked for."""

    def __init__(self, clip: Clip, images: Callable[[], Session], texts: Callable[[], Session]):
        self._clip, self._pad = clip, pad_of(clip)
        self._images, self._texts = functools.cache(images), functools.cache(texts)

    @classmethod
    def of(cls, model: "Model", open_graph: OpenGraph) -> "GraphEncoder":
        """Graphs that are made of the model's weights."""
        return cls(
            model.clip,
            lambda: open_graph(image_graph(model.name, model.clip, with_features=True)),
            lambda: open_graph(text_graph(model.name, model.clip, model.tokenizer)),
        )

    def embed_images(self, pixels_B3SS: Tensor) -> Tensor:
        """As `Encoder`, (B, D) on the CPU."""
        return torch.from_numpy(self._images()(pixels_B3SS.cpu().numpy())[0])

    def embed_texts(self, tokens: Tokens) -> Tensor:
        """As `Encoder`, (B, D) on the CPU; texts of one length go together."""
        return rows_of_texts(self._texts(), tokens.to("cpu"), pad=self._pad)

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """As `Encoder`, (B, W) on the CPU."""
        return torch.from_numpy(self._images()(pixels_B3SS.cpu().numpy())[1])

    def embed_features(self, features_BW: Tensor) -> Tensor:
        """As `Encoder`, (B, D), by torch."""
        return self._clip.embed_features(features_BW)


def rows_of_texts(session: Session, tokens: Tokens, *, pad: int) -> Tensor:
    """Token ids on the CPU to the rows of a text graph, (B, D), a few texts of like length at a time."""
    order_B = tokens.length_B.argsort(stable=True)
    parts = []
    for some in order_B.split(TEXTS_AT_ONCE):
        length = tokens.length_B[some]
        ids_BL = tokens.ids_BL[some, : int(length.max())]
        is_padding = torch.arange(ids_BL.shape[1]) >= length[:, None]
        parts.append(torch.from_numpy(session(ids_BL.masked_fill(is_padding, pad).numpy())[0]))
    return torch.cat(parts)[order_B.argsort()]


def pad_of(clip: Clip) -> int:
    """The id that texts are filled up with."""
    return clip.text_tower.pad if isinstance(clip.text_tower, SiglipText) else 0


def open_onnx(graph: bytes | Path) -> Session:
    """A graph in ONNX Runtime, on as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait by spinning take the time of whatever else the machine does.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    content = graph if isinstance(graph, bytes) else str(graph)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda array: session.run(None, {name: array})  # type: ignore[return-value]


def open_openvino(graph: bytes | Path) -> Session:
    """A graph in OpenVINO, on as many threads as torch has, in float32: where it may, it takes bfloat16 by itself."""
    import openvino  # pyright: ignore[reportMissingImports]

    core = openvino.Core()
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    return lambda array: [np.array(value) for value in compiled(array).to_tuple()]


# By the engine whose runtime it is.
OPENERS: dict[str, OpenGraph] = {"onnx": open_onnx, "openvino": open_openvino}


class Copied:
    """How a `Model` is copied and pickled: weights that an engine has laid out, and its graphs, are neither.

    A shallow copy shares them; for a deep one, and where a model is unpickled, they are made anew of the towers.
    """

    engine: str
    encoder: Encoder | None

    def __copy__(self) -> Self:
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "encoder"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # The towers of bfloat16 compute by themselves.
        if self.engine not in ("torch", "torch-bf16"):
            self.encoder = encoder_of(cast("Model", self), check_engine(self.engine))


def with_engine(model: "Model", engine: str) -> "Model":
    """As `Model.with_engine`."""
    if check_engine(engine) == model.engine:
        return model
    if engine == "torch-bf16":
        other = copy.copy(model)
        other.encoder, other.engine = None, "torch"
        other = other.with_precision("bfloat16")
    else:
        refuse_rounded(model)
        other = copy.copy(model)
        other.clip = same_weights(model.clip, torch.float32, device="cpu" if engine in ON_CPU else None)
        other.encoder = None if engine == "torch" else encoder_of(other, engine)
    other.engine = engine
    return other


def towers_with(model: "Model", engine: str) -> DualEncoder:
    """The model's towers with what an engine has in the stead of their transformer blocks; all else is shared.

    A tower without such blocks stays as it is, and a line says so. `UsageError` where torch has no such product, and
    for a model without such blocks.
    """
    product, parts_of = IN_BLOCKS[engine]
    if not product() or not torch.backends.mkldnn.is_available():
        raise UsageError(f"engine {engine} needs a torch with oneDNN, as on x86 and ARM; take another engine.")
    clip = dual_encoder(model.name, model.clip)
    parts = parts_of(model)
    made = {"image": parts(clip.image_tower), "text": parts(clip.text_tower)}
    if not any(made.values()):
        raise UsageError(f"{model.name} has no transformer blocks, and engine {engine} is for these; take another.")
    for side, own in made.items():
        if not own:
            say(f"note: {model.name}'s {side} tower has no transformer blocks, and is computed as by engine torch.")
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*clip.parameters(), *clip.buffers())}
    return copy.deepcopy(clip, memo | made["image"] | made["text"])


# Engines that compute transformer blocks in a way of their own: whether torch has its product, and what stands in the
# stead of a tower's modules, by their `id`.
Parts = Callable[[nn.Module], dict[int, nn.Module]]
IN_BLOCKS: dict[str, tuple[Callable[[], bool], Callable[["Model"], Parts]]] = {
    "torch-packed": (lambda: hasattr(torch.ops.mkldnn, "_linear_pointwise"), lambda _: packed_parts),
    "torch-int8": (
        lambda: hasattr(torch.ops.onednn, "qlinear_pointwise"),
        lambda model: functools.partial(int8_parts, centres=centres_of(model)),
    ),
}
