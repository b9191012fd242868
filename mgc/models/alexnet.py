"""AlexNet of torchvision with timm's interface, registered with timm as ``alexnet``."""

from typing import Any

import torchvision
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torchvision.models import AlexNet_Weights

#: Place of the activation after each convolution in ``features``.
ACTIVATIONS = (1, 4, 7, 9, 11)


class AlexNet(torchvision.models.AlexNet):
    """AlexNet as in Krizhevsky, "One weird trick for parallelizing convolutional neural networks".

    arXiv:1404.5997, 2014, from torchvision, with the methods of timm's networks. Names of
    parameters are torchvision's. The layers are those of the network of 2012 (CaffeNet) with fewer
    channels and without local response normalization.

    Args:
        num_classes: Number of classes.
        drop_rate: Dropout probability before each of the last layers but one and two.
        **_: Other arguments that timm passes to its networks.
    """

    def __init__(self, num_classes: int = 1000, drop_rate: float = 0.0, **_: Any) -> None:
        super().__init__(num_classes, drop_rate)
        self.num_classes = num_classes
        channels = [m.out_channels for m in self.features if isinstance(m, nn.Conv2d)]
        self.feature_info = [
            {"num_chs": width, "reduction": reduction, "module": f"features.{place}"}
            for width, reduction, place in zip(
                channels, (4, 8, 16, 16, 16), ACTIVATIONS, strict=True
            )
        ]

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map, of shape (batch, 256, height, width)."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits, or the input of the last layer, for the last feature map."""
        layers = self.classifier[:-1] if pre_logits else self.classifier
        return layers(self.avgpool(x).flatten(1))

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the last feature map and the activation of each convolution."""
        found = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in ACTIVATIONS:
                # The next layer is a convolution or a pooling: neither changes its input.
                found.append(x)
        return x, found

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.classifier[-1]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns that group parameters by layer, from the input to the last layer."""
        return {"convolutions": r"^features\.(\d+)", "linear": r"^classifier\.(\d+)"}


_weights = AlexNet_Weights.IMAGENET1K_V1

default_cfgs = generate_default_cfgs(
    {
        "alexnet.tv_in1k": {
            "url": _weights.url,
            "input_size": (3, 224, 224),
            "pool_size": (6, 6),
            "crop_pct": 0.875,
            "interpolation": "bilinear",
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "first_conv": "features.0",
            "classifier": "classifier.6",
            "num_classes": 1000,
            "license": "bsd-3-clause",
        }
    }
)


@register_model
def alexnet(pretrained: bool = False, **kwargs: Any) -> AlexNet:
    """Create an AlexNet; ``pretrained`` loads torchvision's weights for ImageNet."""
    return build_model_with_cfg(AlexNet, "alexnet", pretrained, **kwargs)
