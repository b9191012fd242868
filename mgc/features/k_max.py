"""k-max pooling: the k largest values over time, in their original order."""

import torch
import torch.nn.functional as F
from torch import Tensor


def k_max_pool(values: Tensor, k: int, length: Tensor | None = None) -> Tensor:
    """Keep the k largest values of each channel in their original order.

    Values have shape (batch, channels, time), the result (batch, channels, k). ``length`` is the
    number of valid values of each item, of shape (batch,); all by default. In a tie, the earlier
    values are kept, on every device. If there are fewer than k values, zeros are appended.

    Source: Zhang et al., "A deep neural network for modeling music", ICMR 2015, section 3.3, after
    Kalchbrenner, Grefenstette and Blunsom, ACL 2014.
    """
    time = values.shape[2]
    # An exported graph supports any length.
    if torch.compiler.is_compiling() or time < k:
        values = F.pad(values, (0, k))
    if length is None:
        length = torch.full(values.shape[:1], time, device=values.device)
    end = length[:, None, None]
    position = torch.arange(values.shape[2], device=values.device)
    # Padding ranks below all values, but above the values already taken.
    remaining = values.detach().masked_fill(position >= end, torch.finfo(values.dtype).min)
    found = []
    for _ in range(k):
        # argmax returns the first of equal values; topk does not guarantee that.
        index = remaining.argmax(2, keepdim=True)
        remaining = remaining.scatter(2, index, -torch.inf)
        found.append(index)
    order = torch.cat(found, 2).sort(2).values
    return values.gather(2, order).masked_fill(order >= end, 0.0)
