"""Image networks of timm, fine-tuned on pictures of spectrograms (Gwardys and Grzywczak, 2014)."""

import logging
import pickle
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import requests
import timm
import torch
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from safetensors import SafetensorError
from timm.data import resolve_data_config
from timm.models import group_parameters, load_state_dict
from timm.optim import param_groups_layer_decay
from torch import Tensor
from torch.optim import Optimizer

from mgc.errors import MgcError
from mgc.features.spectrogram_image import Component, Frequency, SpectrogramImage
from mgc.models.base import MusicModel

log = logging.getLogger(__name__)

Tune = Literal["head", "all", "gradual"]

#: How long to wait for the server of weights, in seconds.
PATIENCE = 10

#: Files of weights on the server, as timm looks for them.
FILES = ("model.safetensors", "pytorch_model.bin")

#: What timm raises where a name, a tag or a size does not serve.
UNFIT = (RuntimeError, ValueError, AssertionError, TypeError, KeyError, AttributeError)


class TimmFinetune(MusicModel):
    """Any image network of timm, over the picture of a clip's spectrogram.

    Gwardys and Grzywczak, "Deep image features in music information retrieval", International
    Journal of Electronics and Telecommunications 60(4), 2014. The paper trains the last layer of an
    AlexNet, which timm lacks; ``vgg11`` and ``vgg16`` have the same 4096-wide layer before it. One
    model sees one of the three versions of a song; ``mgc fuse`` joins what several say.

    Weights to start from are fetched, or read from a file, when training starts. Checkpoints hold
    all weights, so whatever starts from a checkpoint fetches nothing.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        pretrained: bool = True,
        weights: str | None = None,
        component: Component = "original",
        frequency: Frequency = "linear",
        tune: Tune = "head",
        layer_decay: float = 0.75,
        unfreeze_epochs: int = 1,
        dropout: float = 0.0,
        weight_decay: float = 0.01,
        image_size: int | list[int] | None = None,
        n_fft: int = 2048,
        hop_length: int = 512,
        n_mels: int = 128,
        top_db: float = 80.0,
        harmonic_length: int = 31,
        percussive_length: int = 31,
        **kwargs: Any,
    ) -> None:
        """Initialize a new model.

        Args:
            backbone: Name of a network in timm, with or without the tag of its weights: ``vgg16``,
                ``resnet18.a1_in1k``.
            pretrained: Whether training starts from the weights that timm publishes under that
                name. They are fetched once, and read from the cache of Hugging Face after that.
            weights: File of weights to start from in place of those: safetensors, or a state
                dictionary of torch, of the same network. The last layer may have other classes.
            component: What the network sees: the ``original``, or its ``harmonic`` or
                ``percussive`` component.
            frequency: Whether the height of the picture is ``linear`` in hertz or on the ``mel``
                scale.
            tune: What learns: the last layer (``head``); ``all``; or ``gradual``, the last layer
                first, then one more stage of the network at a time (Howard and Ruder, "Universal
                language model fine-tuning for text classification", ACL 2018, section 3.3).
            layer_decay: Learning rate of a layer as a share of that of the layer above it; 1 for
                the same rate everywhere. Groups of layers are timm's.
            unfreeze_epochs: Epochs after which ``gradual`` lets the next stage learn.
            dropout: Share of the inputs of the last layer dropped in training.
            weight_decay: Weight decay of AdamW.
            image_size: Height and width of the picture in pixels, or one number for both; by
                default what the network was made for.
            n_fft: Length of a frame of the spectrogram in samples.
            hop_length: Distance between two frames in samples.
            n_mels: Number of mel bands.
            top_db: Range of the picture in decibels below its maximum.
            harmonic_length: Length of the median filter along time in frames, odd.
            percussive_length: Length of the median filter along frequency in bins, odd.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.

        Raises:
            MgcError: If there is no such network, the picture is too small for it, or a setting is
                out of range.
        """
        super().__init__(**kwargs)
        if tune not in get_args(Tune):
            raise MgcError(f"tune={tune!r}: choose one of {', '.join(get_args(Tune))}.")
        if not 0 < layer_decay <= 1:
            raise MgcError(f"layer_decay={layer_decay:g}: give a share above 0, up to 1.")
        if unfreeze_epochs < 1:
            raise MgcError(f"unfreeze_epochs={unfreeze_epochs}: at least 1 is needed.")
        self.backbone = backbone
        self.pretrained = pretrained
        self.weights = weights
        self.tune = tune
        self.layer_decay = layer_decay
        self.unfreeze_epochs = unfreeze_epochs
        self.weight_decay = weight_decay
        # Any: what timm's networks have beyond a module, mypy cannot know.
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
        #: Parameters of the network that do not learn at present.
        self.frozen: frozenset[str] = frozenset()
        if tune == "head":
            self._freeze_below(max(self.stages.values()))
            for name, parameter in self.net.named_parameters():
                parameter.requires_grad_(name not in self.frozen)
            # Trainers leave modules in the mode that they find them in.
            self.train()

    def forward(self, audio: Tensor) -> Tensor:
        """Score clips.

        Args:
            audio: Clips of shape (batch, samples) at ``sample_rate``.

        Returns:
            Logits of shape (batch, classes).
        """
        return self.net(self._draw(audio))

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Compute embeddings of clips.

        Args:
            audio: Clips of shape (batch, samples) at ``sample_rate``.

        Returns:
            The stages of the network under timm's names for them (``layer1`` to ``layer4`` of a
            ResNet), averaged over the picture, and ``penultimate``, the input of the last layer;
            each of shape (batch, width).
        """
        picture = self._draw(audio)
        last, maps = self.net.forward_intermediates(picture)
        names = [stage["module"] for stage in self.net.feature_info]
        layers = {name: x.mean(dim=(2, 3)) for name, x in zip(names, maps, strict=True)}
        return layers | {"penultimate": self.net.forward_head(last, pre_logits=True)}

    def load_initial_weights(self) -> None:
        """Fetch or read the weights that training starts from.

        Raises:
            MgcError: If they cannot be fetched or read, or do not fit the network.
        """
        if self.weights is not None:
            load_weights(self.net, self.weights, self.backbone)
        elif self.pretrained:
            fetch_weights(self.net, self.backbone, self.image.size)

    def train(self, mode: bool = True) -> "TimmFinetune":
        """Switch to training, but for layers that do not learn: they keep their statistics."""
        super().train(mode)
        for path, module in self.net.named_modules():
            prefix = f"{path}." if path else ""
            names = {f"{prefix}{name}" for name, _ in module.named_parameters()}
            if names and names <= self.frozen:
                module.eval()
        return self

    def on_fit_start(self) -> None:
        """Bring in the initial weights, and warn where there are none that could serve."""
        random = self.untrained and self.weights is None and not self.pretrained
        if random and self.tune == "head" and self.trainer.is_global_zero:
            log.warning(
                "Only the last layer learns, on top of random weights: set pretrained, weights, or "
                "tune=all."
            )
        super().on_fit_start()

    def on_train_start(self) -> None:
        """Let the right stages learn, also where a run goes on in the middle of an epoch."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Let one more stage learn, when its time has come."""
        if self.tune == "gradual":
            top = max(self.stages.values())
            self._freeze_below(top - self.current_epoch // self.unfreeze_epochs)
            self.train()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Keep frozen stages as they are.

        They do have gradients: several devices must agree from the start on what they exchange.
        """
        for name, parameter in self.net.named_parameters():
            if name in self.frozen:
                parameter.grad = None

    def configure_optimizers(self) -> Optimizer:
        """Make AdamW, with a learning rate for each layer."""
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
        # As in the network: colours of a pixel side by side.
        return self.image(audio).contiguous(memory_format=torch.channels_last)

    def _freeze_below(self, stage: int) -> None:
        self.frozen = frozenset(name for name, number in self.stages.items() if number < stage)


def make_backbone(
    name: str, num_classes: int, dropout: float, image_size: tuple[int, int] | None
) -> Any:
    """Make a network with random weights.

    Args:
        name: Its name in timm, with or without a tag.
        num_classes: Number of outputs.
        dropout: Share of the inputs of the last layer dropped in training.
        image_size: Height and width of its pictures, where they are not its own.

    Returns:
        The network.

    Raises:
        MgcError: If there is no such network, or the pictures are too small for it.
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
            f"backbone={name!r}: timm {timm.__version__} has no weights {tag!r} of {architecture}, "
            f"but {', '.join(known) or 'none at all'}."
        )
    settings: dict[str, Any] = {"num_classes": num_classes, "drop_rate": dropout}
    published = timm.get_pretrained_cfg(name)
    if image_size and published is not None and published.fixed_input_size:
        settings["img_size"] = image_size
    try:
        net: Any = timm.create_model(name, **settings)
        if image_size:
            _try_size(net, name, image_size)
    except UNFIT as error:
        raise MgcError(f"backbone={name!r}, image_size={image_size}: {error}") from error
    # Convolutions take a third of the time on a CPU, and tensor cores need it.
    return net.to(memory_format=torch.channels_last)


def load_weights(net: Any, path: str, name: str) -> None:
    """Load a file of weights into a network.

    The weights of the last layer are left out where they are for another number of classes.

    Args:
        net: The network, changed in place.
        path: Safetensors, or a file of ``torch.save`` with a state dictionary. No code in it is
            run. A checkpoint of this model serves as well.
        name: What to call the network in errors.

    Raises:
        MgcError: If the file cannot be read, or the weights do not fit.
    """
    if not Path(path).is_file():
        raise MgcError(f"weights={path}: no such file. Give a local file of weights.")
    try:
        state = load_state_dict(path, weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, *UNFIT, OSError, EOFError) as error:
        raise MgcError(
            f"weights={path}: no safetensors file or plain state dictionary of torch, or only a "
            f"part of one: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    wanted = net.state_dict()
    # Checkpoints of this model hold more than the network.
    state = {key.removeprefix("net."): value for key, value in state.items() if _of_net(key)}
    if not any(key in wanted for key in state):
        raise MgcError(f"weights={path}: not one of its weights belongs to {name}.")
    head = _head(net)
    if any(key in state and state[key].shape != wanted[key].shape for key in head):
        state |= {key: wanted[key] for key in head}
    for key, value in wanted.items():
        if key not in state:
            raise MgcError(f"weights={path}: lacks {key} of {name}. Are they of another network?")
        if state[key].shape != value.shape:
            raise MgcError(
                f"weights={path}: {key} has shape {tuple(state[key].shape)}, in {name} it is "
                f"{tuple(value.shape)}. Are they of another network?"
            )
    extra = next((key for key in state if key not in wanted), None)
    if extra:
        raise MgcError(f"weights={path}: {name} has no {extra}. Are they of another network?")
    net.load_state_dict(state)


def fetch_weights(net: Any, name: str, image_size: tuple[int, int]) -> None:
    """Load the weights that timm publishes into a network, from the cache if they are there.

    Args:
        net: The network, changed in place; its last layer stays as it is unless it has the classes
            of the published one.
        name: Its name in timm.
        image_size: Height and width of its pictures.

    Raises:
        MgcError: If there are none, or they cannot be fetched.
    """
    published = timm.get_pretrained_cfg(name)
    if published is None or not published.has_weights:
        raise MgcError(
            f"backbone={name!r}: timm publishes no weights for it. Set pretrained=False and tune="
            "all, or give weights=FILE."
        )
    file = _cached(published.hf_hub_id) if published.hf_hub_id else None
    settings: dict[str, Any] = {"num_classes": net.num_classes, "pretrained": True}
    if file and not published.custom_load:
        # Without asking the server whether there are newer ones.
        settings["pretrained_cfg_overlay"] = {"file": file}
    if published.fixed_input_size:
        settings["img_size"] = image_size
    try:
        if published.hf_hub_id and not file:
            log.info("Fetching the weights of %s, once.", name)
            # timm would try in vain for a minute.
            requests.head(hf_hub_url(published.hf_hub_id, FILES[0]), timeout=PATIENCE)
        source = timm.create_model(name, **settings)
    except (OSError, *UNFIT) as error:
        raise MgcError(
            f"backbone={name!r}: its weights cannot be fetched ({type(error).__name__}). Without a "
            "network, copy the cache of Hugging Face (HF_HOME) from a machine that has one, give "
            "weights=FILE, or start from random weights with pretrained=False and tune=all."
        ) from error
    log.info("Weights: %s of %s, licence %s.", published.tag, name, published.license)
    state = source.state_dict()
    if net.num_classes != published.num_classes:
        state |= {key: value for key, value in net.state_dict().items() if key in _head(net)}
    net.load_state_dict(state)


def _cached(repository: str) -> str | None:
    """File of weights in the cache of Hugging Face."""
    found = (try_to_load_from_cache(repository, name) for name in FILES)
    return next((file for file in found if isinstance(file, str)), None)


def _try_size(net: Any, name: str, size: tuple[int, int]) -> None:
    """Check that pictures of a size are large enough.

    Raises:
        MgcError: If they are not.
    """
    stride = max(stage["reduction"] for stage in net.feature_info)
    if min(size) < stride:
        raise MgcError(
            f"image_size={list(size)}: too small for {name}, which sees {stride} pixels as one in "
            f"the end. Give at least {stride}."
        )
    with torch.inference_mode():
        net.eval()(torch.zeros(1, 3, *size))
    net.train()


def _head(net: Any) -> set[str]:
    """Names of the parameters of the last layer."""
    last = net.get_classifier()
    layers = last if isinstance(last, tuple) else (last,)
    own = {id(parameter) for layer in layers for parameter in layer.parameters()}
    return {name for name, parameter in net.named_parameters() if id(parameter) in own}


def _stages(net: Any) -> dict[str, int]:
    """Number of the stage of each parameter, from the input to the last layer."""
    if hasattr(net, "group_matcher"):
        groups = group_parameters(net, net.group_matcher(coarse=True), reverse=True)
    else:
        groups = dict.fromkeys((name for name, _ in net.named_parameters()), 0)
    top = max(groups.values()) + 1
    groups |= dict.fromkeys(_head(net), top)
    rank = {number: place for place, number in enumerate(sorted(set(groups.values())))}
    return {name: rank[number] for name, number in groups.items()}


def _of_net(key: str) -> bool:
    return not key.startswith(("image.", "train_metric."))


def _pair(size: int | list[int] | None) -> tuple[int, int] | None:
    """Height and width."""
    if size is None:
        return None
    sizes = [size, size] if isinstance(size, int) else size
    if len(sizes) != 2 or min(sizes) < 1:
        raise MgcError(f"image_size={size}: give a number of pixels, or height and width.")
    return sizes[0], sizes[1]
