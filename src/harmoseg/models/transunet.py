"""TransUNet: a convolutional encoder, a transformer bottleneck, a UNet decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from segmentation_models_pytorch.base import SegmentationHead, SegmentationModel
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.errors import HarmosegError
from harmoseg.models.encoders import PROBE_SIZE, drop_unused

_STRIDE = 16
_ENCODER_DEPTH = 4
_POSITION_GRID = 14
"""Side of the learned position grid: 224 pixels at stride 16, the paper's input size."""


class TransUNet(SegmentationModel):
    """Segment with an encoder to stride 16, a transformer on its tokens, and a UNet decoder.

    Images (B, in_channels, H, W) to logits (B, classes, H, W); H and W must be multiples of 16
    (any others raise HarmosegError naming the nearest). After Chen et al., arXiv:2102.04306, in
    the paper's configuration: a 1 x 1 embedding to `width` channels, a learned position embedding
    (interpolated to the size of the input), `depth` pre-norm blocks with `heads` attention heads.
    Layers of the encoder behind stride 16 are removed. `encoder_options` go to timm where the
    encoder is ``tu-NAME``.

    Raises HarmosegError where these do not fit together, or the encoder has no stage at stride 16.
    """

    def __init__(
        self,
        encoder_name: str = "resnet50",
        *,
        encoder_weights: str | None = None,
        in_channels: int = 3,
        classes: int = 1,
        depth: int = 12,
        width: int = 768,
        heads: int = 8,
        decoder_channels: Sequence[int] = (256, 128, 64, 16),
        **encoder_options: Any,
    ) -> None:
        super().__init__()
        _check_transformer(depth, width, heads, decoder_channels)
        self.encoder = get_encoder(
            encoder_name,
            in_channels=in_channels,
            depth=_ENCODER_DEPTH,
            weights=encoder_weights,
            **encoder_options,
        )
        _check_stages(encoder_name, drop_unused(self.encoder, encoder_name, in_channels).shapes)
        channels: Sequence[int] = self.encoder.out_channels
        self.bottleneck = TransformerBottleneck(channels[-1], depth=depth, width=width, heads=heads)
        self.decoder = UnetDecoder(
            encoder_channels=(*channels[:-1], width),
            decoder_channels=decoder_channels,
            n_blocks=_ENCODER_DEPTH,
        )
        self.segmentation_head = SegmentationHead(decoder_channels[-1], classes)
        self.classification_head = None
        self.name = f"transunet-{encoder_name}"
        self.initialize()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes, H, W)."""
        _check_size(images)
        features = self.encoder(images)
        features = [*features[:-1], self.bottleneck(features[-1])]
        return cast(Tensor, self.segmentation_head(self.decoder(features)))


class TransformerBottleneck(nn.Module):
    """Relate all places of a feature map: (B, C, h, w) to (B, width, h, w)."""

    def __init__(self, in_channels: int, *, depth: int, width: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(in_channels, width, kernel_size=1)
        self.position = nn.Parameter(torch.zeros(1, width, _POSITION_GRID, _POSITION_GRID))
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, features: Tensor) -> Tensor:
        """Embed, add position, attend, and lay the tokens out as a map again."""
        height, width = features.shape[-2:]
        embedded = self.embedding(features)
        tokens = (embedded + self._position(height, width).to(embedded.dtype)).flatten(2)
        tokens = self.norm(self.blocks(tokens.transpose(1, 2)))
        return cast(Tensor, tokens.transpose(1, 2).reshape(embedded.shape))

    def _position(self, height: int, width: int) -> Tensor:
        if (height, width) == self.position.shape[-2:]:
            return self.position
        return F.interpolate(
            self.position, size=(height, width), mode="bicubic", align_corners=False
        )


class TransformerBlock(nn.Module):
    """Attention and a two-layer perceptron, each normalised first and added back."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.apply(_init_linear)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, N, width) to tokens of the same shape."""
        tokens = tokens + self.projection(self._attend(self.attention_norm(tokens)))
        return cast(Tensor, tokens + self.perceptron(tokens))

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        projected = self.query_key_value(tokens).reshape(batch, count, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(batch, count, width)


def _init_linear(module: nn.Module) -> None:
    """Start linear layers as ViT does (std 0.02, no bias)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _check_transformer(depth: int, width: int, heads: int, decoder_channels: Sequence[int]) -> None:
    for name, value in (("depth", depth), ("width", width), ("heads", heads)):
        if value < 1:
            raise HarmosegError(f"{name} must be 1 or more, got {value}")
    if width % heads:
        raise HarmosegError(
            f"width must be a multiple of heads, got width {width} and {heads} heads"
        )
    if len(decoder_channels) != _ENCODER_DEPTH:
        raise HarmosegError(
            f"decoder_channels must be {_ENCODER_DEPTH} numbers, one per stage, got "
            f"{list(decoder_channels)}"
        )


def _check_stages(encoder_name: str, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise HarmosegError unless the features end at stride 16, one for every halving."""
    expected = tuple(size // _STRIDE for size in PROBE_SIZE)
    if len(shapes) == _ENCODER_DEPTH + 1 and shapes[-1][1:] == expected:
        return
    height, width = shapes[-1][1:]
    raise HarmosegError(
        f"encoder {encoder_name!r} cannot carry TransUNet, which needs {_ENCODER_DEPTH} stages, "
        f"the last at stride {_STRIDE}: of an image of {PROBE_SIZE[0]} x {PROBE_SIZE[1]} its "
        f"{len(shapes) - 1} stages leave {height} x {width}, not {expected[0]} x {expected[1]}; "
        "choose another encoder"
    )


def _check_size(images: Tensor) -> None:
    sizes = images.shape[-2:]
    if all(size % _STRIDE == 0 and size > 0 for size in sizes):
        return
    nearest = [max(_STRIDE, round(size / _STRIDE) * _STRIDE) for size in sizes]
    raise HarmosegError(
        f"TransUNet takes heights and widths that are multiples of {_STRIDE}, got "
        f"{sizes[0]} x {sizes[1]}; the nearest allowed size is {nearest[0]} x {nearest[1]}"
    )
