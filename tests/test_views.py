"""Sampled views: rotations in degrees, shared by all images."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from fisher_al.method.views import Views, draw_views


def test_views_are_drawn_in_degrees_and_repeat_with_the_seed():
    views = draw_views(20_000, (1, 2, 2), torch.Generator().manual_seed(0))
    assert float(views.angles.std()) == pytest.approx(5, rel=0.03)
    assert float(views.noise.std()) == pytest.approx(0.01, rel=0.03)
    again = draw_views(20_000, (1, 2, 2), torch.Generator().manual_seed(0))
    assert torch.equal(views.angles, again.angles)
    assert torch.equal(views.noise, again.noise)


def test_a_quarter_turn_is_ninety_degrees():
    inputs = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    views = Views(torch.tensor([0.0, 90.0]), torch.zeros(2, 1, 28, 28))
    seen = views.of(inputs)
    assert seen.shape == (2, 3, 1, 28, 28)
    torch.testing.assert_close(seen[0], inputs, atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[1], torch.rot90(inputs, 1, (2, 3)), atol=1e-3, rtol=0)


def test_small_rotations_agree_with_scipy():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(2, 3, 20, 20, generator=generator)
    views = Views(torch.tensor([5.0, -7.5]), torch.zeros(2, 3, 20, 20))
    seen = views.of(inputs).numpy()
    for k, angle in enumerate((5.0, -7.5)):
        for n in range(2):
            for channel in range(3):
                image = inputs[n, channel].numpy()
                expected = ndimage.rotate(image, angle, reshape=False, order=1, mode="nearest")
                np.testing.assert_allclose(seen[k, n, channel], expected, atol=1e-3)


def test_all_images_share_rotation_and_noise():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(4, 1, 28, 28, generator=generator)
    views = draw_views(6, (1, 28, 28), generator)
    together = views.of(inputs)
    for n in range(4):
        torch.testing.assert_close(together[:, n], views.of(inputs[n : n + 1])[:, 0], atol=1e-6, rtol=0)
    still = Views(torch.zeros(6), views.noise).of(inputs)
    torch.testing.assert_close(still - inputs, views.noise.unsqueeze(1).expand_as(still), atol=1e-4, rtol=0)
