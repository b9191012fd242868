import math

import numpy as np
import pytest
import torch
from torchaudio.transforms import Resample

from mgc.data.resampling import Resampler

#: Arguments that make torchaudio's filter equal to ours.
TORCHAUDIO_ARGS = {
    "fast": {},
    "best": {
        "resampling_method": "sinc_interp_kaiser",
        "lowpass_filter_width": 64,
        "rolloff": 0.9463,
        "beta": 14.769656459379492,
    },
}


@pytest.mark.parametrize("resampling", ["fast", "best"])
@pytest.mark.parametrize(
    "rates", [(44100, 12000), (48000, 22050), (12000, 22050), (22050, 44100), (8000, 1000)]
)
def test_equals_torchaudio(rates, resampling):
    divisor = math.gcd(*rates)
    source, target = (rate // divisor for rate in rates)
    for samples in (1, 100, 20_011):
        noise = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
        expected = Resample(source, target, **TORCHAUDIO_ARGS[resampling])(torch.from_numpy(noise))
        actual = Resampler(source, target, resampling)(noise)
        assert actual.dtype == np.float32
        # torchaudio computes the phases of the filter in float32.
        np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=3e-6)
