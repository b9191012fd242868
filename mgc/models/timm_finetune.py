"""Fine-tuning of timm image networks on spectrogram images (Gwardys and Grzywczak, 2014)."""

import logging
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import requests
import timm
import torch
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from timm.data import resolve_data_config
from timm.models import get_deprecated_models, group_parameters
from timm.optim import param_groups_layer_decay
from torch import Tensor
from torch.optim import Optimizer

from mgc.core.ranges import (
    Decibels,
    Dropout,
    Epochs,
    FrameLength,
    HopLength,
    MedianLength,
    MelBands,
    Range,
    WeightDecay,
)
from mgc.errors import MgcError
from mgc.features.spectrogram_image import Component, Frequency, SpectrogramImage
from mgc.models import alexnet  # noqa: F401  Registers AlexNet with timm.
from mgc.models.base import MusicModel
from mgc.models.weight_files import fit_weights, read_weights, select_weights

log = logging.getLogger(__name__)

Tune = Literal["head", "all", "gradual"]

Pixels = Annotated[int, Range(1, 4096)]

#: Seconds to wait for the server of the weights.
DOWNLOAD_TIMEOUT = 10

#: Names of weight files on the server, in timm's order.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")

#: Exceptions that timm raises for an invalid name, tag or size.
TIMM_ERRORS = (RuntimeError, ValueError, AssertionError, TypeError, KeyError, AttributeError)


class TimmFinetune(MusicModel):
    """Image network of timm on the spectrogram image of a clip.

    Gwardys and Grzywczak, "Deep image features in music information retrieval", International
    Journal of Electronics and Telecommunications 60(4), 2014. The paper trains the last layer of an
    AlexNet; ``alexnet`` is torchvision's, and all other networks are timm's. Each model uses one of
    the three components of a song; ``mgc fuse`` combines several models. Initial weights are
    downloaded, or read from a file, when training starts.

    Args:
        backbone: Name of a timm network, or ``alexnet``, or with a tag ``resnet18.a1_in1k``.
        pretrained: Whether to start from the weights that timm publishes, downloaded once to the
            Hugging Face cache.
        weights: File of initial weights of the same network, used instead of the published ones:
            safetensors, or a PyTorch state dictionary or checkpoint. The last layer may be missing
            or have a different number of classes.
        component: Input component: ``original``, ``harmonic`` or ``percussive``.
        frequency: Frequency axis of the image: ``linear`` or ``mel``.
        tune: Layers to train: the last layer (``head``), ``all``, or ``gradual``: first the last
            layer, then one more stage at a time (Howard and Ruder, "Universal language model
            fine-tuning for text classification", ACL 2018, section 3.3).
        layer_decay: Learning rate of a layer relative to the layer above it, from 0 to 1.
        unfreeze_epochs: Epochs between two stages of ``gradual``.
        dropout: Dropout probability before the last layer.
        weight_decay: Weight decay of AdamW.
        image_size: Height and width of the image in pixels, or one number for both; the network's
            input size by default.
        n_fft: Frame length of the spectrogram in samples.
        hop_length: Hop length in samples.
        n_mels: Number of mel bands.
        top_db: Dynamic range of the image in decibels below its maximum.
        harmonic_length: Length of the median filter along time in frames, odd.
        percussive_length: Length of the median filter along frequency in bins, odd.
        **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.
    """

    training_settings = ("tune",)

    def __init__(
        self,
        backbone: str = "resnet18",
        pretrained: bool = True,
        weights: str | None = None,
        component: Component = "original",
        frequency: Frequency = "linear",
        tune: Tune = "head",
        layer_decay: Annotated[float, Range(0, 1, closed="right")] = 0.75,
        unfreeze_epochs: Epochs = 1,
        dropout: Dropout = 0.0,
        weight_decay: WeightDecay = 0.01,
        image_size: Pixels | list[Pixels] | None = None,
        n_fft: FrameLength = 2048,
        hop_length: HopLength = 512,
        n_mels: MelBands = 128,
        top_db: Decibels = 80.0,
        harmonic_length: MedianLength = 31,
        percussive_length: MedianLength = 31,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        backbone = current_name(backbone)
        self.backbone = backbone
        self.pretrained = pretrained
        self.weights = weights
        self.tune = tune
        self.layer_decay = layer_decay
        self.unfreeze_epochs = unfreeze_epochs
        self.weight_decay = weight_decay
        # Any, because mypy does not know the methods of timm's networks.
        self.net: Any = make_backbone(backbone, self.num_classes, dropout, _pair(image_size))
        config = resolve_data_config({}, model=self.net)
        size = _pair(image_size) or tuple(config["input_size"][1:])
        self.hparams["image_size"] = list(size)
        self.image = SpectrogramImage(
            self.sample_rate,
            size,
            config["mean"],
            config["std"],
            component,
            frequency,
            n_fft,
            hop_length,
            n_mels,
            top_db,
            "bicubic" if config["interpolation"] == "bicubic" else "bilinear",
            harmonic_length,
            percussive_length,
        )
        self.stages = _stages(self.net)
        #: Names of the parameters that are currently frozen.
        self.frozen: frozenset[str] = frozenset()
        if tune == "head":
            self._freeze_below(max(self.stages.values()))
            for name, parameter in self.net.named_parameters():
                parameter.requires_grad_(name not in self.frozen)
            # The trainer keeps the mode of each module, so frozen layers must be set here.
            self.train()

    def forward(self, audio: Tensor) -> Tensor:
        """Return logits of shape (batch, classes) for clips of shape (batch, samples)."""
        return self.net(self._draw(audio))

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Return the mean of each stage over the image, and ``penultimate``.

        Stages have timm's names (``layer1`` to ``layer4`` of a ResNet), with ``_`` for a dot
        (``blocks_0`` of an EfficientNet). ``penultimate`` is the input of the last layer. Each has
        shape (batch, width).
        """
        image = self._draw(audio)
        last, maps = self.net.forward_intermediates(image)
        names = [stage["module"].replace(".", "_") for stage in self.net.feature_info]
        layers = {name: x.mean(dim=(2, 3)) for name, x in zip(names, maps, strict=True)}
        return layers | {"penultimate": self.net.forward_head(last, pre_logits=True)}

    def load_initial_weights(self) -> None:
        """Download or read the initial weights."""
        if self.weights is not None:
            load_weights(self.net, self.weights, self.backbone)
        elif self.pretrained:
            fetch_weights(self.net, self.backbone, self.image.size)

    def train(self, mode: bool = True) -> "TimmFinetune":
        """Set the training mode. Frozen layers stay in evaluation mode to keep their statistics."""
        super().train(mode)
        for path, module in self.net.named_modules():
            prefix = f"{path}." if path else ""
            names = {f"{prefix}{name}" for name, _ in module.named_parameters()}
            if names and names <= self.frozen:
                module.eval()
        return self

    def on_fit_start(self) -> None:
        """Load the initial weights; warn if the last layer is trained on random weights."""
        random = self.untrained and self.weights is None and not self.pretrained
        if random and self.tune == "head" and self.trainer.is_global_zero:
            log.warning(
                "Only the last layer is trained, on top of random weights. Set pretrained, weights "
                "or tune=all."
            )
        super().on_fit_start()

    def on_train_start(self) -> None:
        """Freeze the same stages as before when a run resumes in the middle of an epoch."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Unfreeze the next stage when it is due."""
        if self.tune == "gradual":
            top = max(self.stages.values())
            self._freeze_below(top - self.current_epoch // self.unfreeze_epochs)
            self.train()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Drop the gradients of frozen stages."""
        # Distributed training fixes the set of exchanged gradients at the start.
        for name, parameter in self.net.named_parameters():
            if name in self.frozen:
                parameter.grad = None

    def configure_optimizers(self) -> Optimizer:
        """Return AdamW with a learning rate for each layer."""
        groups = param_groups_layer_decay(
            self.net,
            self.weight_decay,
            no_weight_decay_list=getattr(self.net, "no_weight_decay", set)(),
            layer_decay=self.layer_decay,
        )
        for group in groups:
            group["lr"] = self.lr * group.pop("lr_scale")
        return torch.optim.AdamW(groups, self.lr)

    def _draw(self, audio: Tensor) -> Tensor:
        # Use the memory format of the network.
        return self.image(audio).contiguous(memory_format=torch.channels_last)

    def _freeze_below(self, stage: int) -> None:
        self.frozen = frozenset(name for name, number in self.stages.items() if number < stage)


def current_name(name: str) -> str:
    """Return the current name of a network that timm has renamed, else the name itself.

    timm builds a renamed network, but finds its weights under the new name only.
    """
    architecture, _, tag = name.partition(".")
    current = get_deprecated_models().get(architecture)
    if not current:
        return name
    renamed = f"{current.partition('.')[0]}.{tag}" if tag else current
    log.info("backbone=%r: timm now calls it %s.", name, renamed)
    return renamed


def make_backbone(
    name: str, num_classes: int, dropout: Dropout, image_size: tuple[int, int] | None
) -> Any:
    """Create a timm network with random weights, for its own image size by default.

    Raises:
        MgcError: If the network is unknown or the images are too small for it.
    """
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = get_close_matches(architecture, timm.list_models(), n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise MgcError(
            f"backbone={name!r}: timm {timm.__version__} has no such network.{hint} "
            "timm.list_models() lists all."
        )
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in known:
        raise MgcError(
            f"backbone={name!r}: timm {timm.__version__} has no weights {tag!r} of {architecture}. "
            f"Available: {', '.join(known) or 'none'}."
        )
    settings: dict[str, Any] = {"num_classes": num_classes, "drop_rate": dropout}
    published = timm.get_pretrained_cfg(name)
    if image_size and published is not None and published.fixed_input_size:
        settings["img_size"] = image_size
    try:
        net: Any = timm.create_model(name, **settings)
        if image_size:
            _try_size(net, name, image_size)
    except TIMM_ERRORS as error:
        raise MgcError(f"backbone={name!r}, image_size={image_size}: {error}") from error
    # This format cuts the time of convolutions on a CPU to a third; tensor cores need it.
    return net.to(memory_format=torch.channels_last)


def load_weights(net: Any, path: str, name: str) -> None:
    """Load a file of weights into a network (see :mod:`mgc.models.weight_files`).

    The last layer is skipped if the file has none, or one with a different number of classes.

    Raises:
        MgcError: If the file cannot be read or the weights do not fit.
    """
    own = net.state_dict()
    state = select_weights(read_weights(path), own)
    net.load_state_dict(fit_weights(state, own, _head(net), path, name))


def fetch_weights(net: Any, name: str, image_size: tuple[int, int]) -> None:
    """Load the weights that timm publishes, from the cache if possible.

    The last layer is skipped if it has a different number of classes.

    Raises:
        MgcError: If timm publishes no weights, or they cannot be downloaded.
    """
    published = timm.get_pretrained_cfg(name)
    if published is None or not published.has_weights:
        raise MgcError(
            f"backbone={name!r}: timm publishes no weights for it. Set pretrained=False and "
            "tune=all, or weights=FILE."
        )
    file = _cached(published.hf_hub_id) if published.hf_hub_id else None
    settings: dict[str, Any] = {"num_classes": net.num_classes, "pretrained": True}
    if file and not published.custom_load:
        # Skips the request for newer weights.
        settings["pretrained_cfg_overlay"] = {"file": file}
    if published.fixed_input_size:
        settings["img_size"] = image_size
    try:
        if published.hf_hub_id and not file:
            log.info("Downloading the weights of %s.", name)
            # Without a connection, timm would retry for a minute.
            requests.head(
                hf_hub_url(published.hf_hub_id, WEIGHT_FILES[0]), timeout=DOWNLOAD_TIMEOUT
            )
        source = timm.create_model(name, **settings)
    except (OSError, *TIMM_ERRORS) as error:
        raise MgcError(
            f"backbone={name!r}: could not download its weights ({type(error).__name__}). Without "
            "a connection, copy the Hugging Face cache (HF_HOME) from another machine, set "
            "weights=FILE, or start from random weights with pretrained=False and tune=all."
        ) from error
    log.info("Weights: %s of %s, licence %s.", published.tag, name, published.license)
    state = source.state_dict()
    if net.num_classes != published.num_classes:
        state |= {key: value for key, value in net.state_dict().items() if key in _head(net)}
    net.load_state_dict(state)


def _cached(repository: str) -> str | None:
    """Return the weight file in the Hugging Face cache, if any."""
    found = (try_to_load_from_cache(repository, name) for name in WEIGHT_FILES)
    return next((file for file in found if isinstance(file, str)), None)


def _try_size(net: Any, name: str, size: tuple[int, int]) -> None:
    """Raise an ``MgcError`` if images of a size are too small for the network."""
    stride = max(stage["reduction"] for stage in net.feature_info)
    if min(size) < stride:
        raise MgcError(
            f"image_size={list(size)}: too small for {name}, which downsamples by {stride}. "
            f"Use at least {stride}."
        )
    with torch.inference_mode():
        net.eval()(torch.zeros(1, 3, *size))
    net.train()


def _head(net: Any) -> set[str]:
    """Return the names of the last layer's parameters."""
    last = net.get_classifier()
    layers = last if isinstance(last, tuple) else (last,)
    own = {id(parameter) for layer in layers for parameter in layer.parameters()}
    return {name for name, parameter in net.named_parameters() if id(parameter) in own}


def _stages(net: Any) -> dict[str, int]:
    """Return the stage number of each parameter, counted from the input."""
    if hasattr(net, "group_matcher"):
        groups = group_parameters(net, net.group_matcher(coarse=True), reverse=True)
    else:
        groups = dict.fromkeys((name for name, _ in net.named_parameters()), 0)
    top = max(groups.values()) + 1
    groups |= dict.fromkeys(_head(net), top)
    rank = {number: place for place, number in enumerate(sorted(set(groups.values())))}
    return {name: rank[number] for name, number in groups.items()}


def _pair(size: int | list[int] | None) -> tuple[int, int] | None:
    """Return height and width."""
    if size is None:
        return None
    sizes = [size, size] if isinstance(size, int) else size
    if len(sizes) != 2:
        raise MgcError(
            f"image_size={size}: must be one positive number of pixels, or two (height, width)."
        )
    return sizes[0], sizes[1]
