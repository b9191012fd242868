"""k-max pooling: the largest values over time, in their order."""

import torch
import torch.nn.functional as F
from torch import Tensor


def k_max_pool(values: Tensor, k: int, length: Tensor | None = None) -> Tensor:
    """Keep the k largest values of each channel, in the order in which they occur.

    Of equal values the earlier ones are kept, on every device. Where there are fewer than k, zeros
    follow. Gradients flow to the values that are kept.

    Source: Zhang et al., "A deep neural network for modeling music", ICMR 2015, section 3.3, after
    Kalchbrenner, Grefenstette and Blunsom, ACL 2014.

    Args:
        values: Of shape (batch, channels, time).
        k: How many values are kept.
        length: How many values of each item count, of shape (batch,); by default all.

    Returns:
        Of shape (batch, channels, k).
    """
    time = values.shape[2]
    # A recorded graph serves any time.
    if torch.compiler.is_compiling() or time < k:
        values = F.pad(values, (0, k))
    if length is None:
        length = torch.full(values.shape[:1], time, device=values.device)
    end = length[:, None, None]
    place = torch.arange(values.shape[2], device=values.device)
    # Below every value, but above those that are taken already.
    left = values.detach().masked_fill(place >= end, torch.finfo(values.dtype).min)
    found = []
    for _ in range(k):
        # The index of the first of equal values, which topk does not promise.
        index = left.argmax(2, keepdim=True)
        left = left.scatter(2, index, -torch.inf)
        found.append(index)
    order = torch.cat(found, 2).sort(2).values
    return values.gather(2, order).masked_fill(order >= end, 0.0)
