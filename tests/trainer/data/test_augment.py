import pytest
import torch
from torch.nn.functional import interpolate

from trainer.config.settings import Augment
from trainer.data.augment import (
    MEAN,
    STD,
    Colour,
    Geometry,
    augment,
    colour_matrix,
    draw_geometry,
    draw_numbers,
    render,
    resize_matrix,
    square_crop,
)
from trainer.data.packed_clips import PackedClips


def random_frames(n: int = 2, t: int = 3, h: int = 24, w: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, t, h, w, 3), dtype=torch.uint8, generator=generator)


def numbers(count: int, seed: int = 0) -> torch.Tensor:
    return draw_numbers(count, torch.Generator().manual_seed(seed))


def geometry(top, left, height, width, flip=False, sigma=0.0) -> Geometry:
    values = [torch.tensor([float(v)]) for v in (top, left, height, width)]
    return Geometry(*values, torch.tensor([flip]), torch.tensor([float(sigma)]))


def colour(**changes: float) -> Colour:
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    values = {key: torch.tensor([changes.get(key, value)]) for key, value in neutral.items()}
    return Colour(**values, gray=torch.tensor([bool(changes.get("gray", False))]))


def to_pixels(x: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v)[:, None, None, None] for v in (MEAN, STD))
    return x * std + mean


def planes(frames: torch.Tensor) -> torch.Tensor:
    return frames.permute(0, 4, 1, 2, 3).float() / 255


@pytest.mark.parametrize("size", [8, 16, 40])
def test_resizing_is_torch_s_antialiased_bilinear(size):
    frames = random_frames(1)
    ours = to_pixels(render(PackedClips.of(frames), geometry(0, 0, 24, 32), None, size))
    flat = planes(frames)[0].permute(1, 0, 2, 3)
    theirs = interpolate(flat, (size, size), mode="bilinear", antialias=True)
    assert torch.allclose(ours[0].permute(1, 0, 2, 3), theirs, atol=1e-5)


def test_crop_flip_and_normalisation():
    frames = random_frames(1)
    whole = planes(frames)
    cropped = to_pixels(render(PackedClips.of(frames), geometry(4, 7, 16, 16), None, 16))
    assert torch.allclose(cropped, whole[..., 4:20, 7:23], atol=1e-5)
    flipped = to_pixels(render(PackedClips.of(frames), geometry(4, 7, 16, 16, flip=True), None, 16))
    assert torch.allclose(flipped, whole[..., 4:20, 7:23].flip(-1), atol=1e-5)


def test_square_crop():
    frames = random_frames(2)
    assert torch.allclose(
        to_pixels(square_crop(PackedClips.of(frames), 24)), planes(frames)[..., 4:28], atol=1e-5
    )


def test_normalised_by_itself_a_clip_is_the_same_however_dark():
    bright = random_frames(2, h=24, w=24)
    dark = bright // 8
    clip = square_crop(PackedClips.of(bright), 24, normalise="clip")
    pixels = planes(bright).double()
    wanted = (pixels[1] - pixels[1].mean()) / pixels[1].std(correction=0)
    assert torch.allclose(clip[1].double(), wanted, atol=1e-5)
    faint = square_crop(PackedClips.of(dark), 24, normalise="clip")
    assert (clip - faint).abs().mean() < 0.05  # what 32 levels leave of 256
    assert (square_crop(PackedClips.of(bright), 24) - clip).abs().mean() > 0.1
    black = square_crop(PackedClips.of(bright * 0), 24, normalise="clip")
    assert torch.equal(black, torch.zeros_like(black))
    changed = augment(PackedClips.of(bright), Augment(), 16, numbers(2), "clip")
    assert changed.flatten(1).mean(dim=1).abs().max() < 1e-5
    assert torch.allclose(changed.flatten(1).std(dim=1, correction=0), torch.ones(2), atol=1e-5)


def test_normalised_by_motion_a_still_background_is_gone():
    frames = random_frames(1, t=1, h=16, w=16).expand(2, 4, 16, 16, 3).clone()
    frames[1, 2, 3, 4] = frames[1, 2, 3, 4] // 2 + 90
    clips = square_crop(PackedClips.of(frames), 16, normalise="motion")
    assert clips[0].abs().max() < 1e-3 and clips[1].square().mean().sub(1).abs() < 1e-4
    moved = torch.zeros(16, 16, dtype=torch.bool)
    moved[3, 4] = True
    assert (clips[1].abs().amax(dim=(0, 1)) > 1).equal(moved)
    assert clips[1].mean(dim=1).abs().max() < 1e-4


def test_clips_of_several_sizes_are_as_each_alone():
    frames = [random_frames(1, h=h, w=w) for h, w in ((24, 32), (16, 40), (24, 32), (30, 12))]
    sizes = tuple((f.shape[2], f.shape[3]) for f in frames)
    order = sorted(range(4), key=sizes.__getitem__)
    packed = PackedClips(torch.cat([frames[i].flatten() for i in order]), sizes, 3)
    assert all(torch.equal(packed[i], frames[i][0]) for i in range(4))
    rows = numbers(4)
    together = augment(packed, Augment(), 16, rows)
    for i, alone in enumerate(frames):
        expected = augment(PackedClips.of(alone), Augment(), 16, rows[i : i + 1])
        assert torch.allclose(together[i], expected[0], atol=1e-5)
    square = square_crop(packed, 16, 0.2)
    assert torch.allclose(square[3], square_crop(PackedClips.of(frames[3]), 16, 0.2)[0], atol=1e-6)


def test_blur_spreads_a_point_and_keeps_the_sum():
    one = torch.ones(1)
    matrix = resize_matrix(0 * one, 33 * one, 33, 33, 2 * one)[0]
    assert torch.allclose(matrix.sum(-1), torch.ones(33), atol=1e-6)
    row = matrix[16]
    expected = torch.exp(-0.5 * ((torch.arange(33) - 16) / 2) ** 2)
    assert torch.allclose(row, expected / expected.sum(), atol=1e-3)


@pytest.mark.parametrize(
    "changes", [{}, {"hue": 0.25}, {"saturation": 0.3}, {"gray": True}, {"contrast": 0.5}]
)
def test_gray_stays_gray(changes):
    levels = torch.tensor([[0.1, 0.1, 0.1], [0.7, 0.7, 0.7]]).T
    out = colour_matrix(colour(**changes))[0] @ levels
    assert torch.allclose(out, out.mean(0, keepdim=True).expand(3, -1), atol=2e-3)


def test_colour_changes_by_hand():
    red = torch.tensor([1.0, 0.0, 0.0])
    assert torch.allclose(colour_matrix(colour())[0] @ red, red, atol=1e-5)
    assert torch.allclose(
        colour_matrix(colour(gray=True))[0] @ red, torch.full((3,), 0.299), atol=1e-5
    )
    assert torch.allclose(colour_matrix(colour(brightness=0.5))[0] @ red, red / 2, atol=1e-5)
    half = colour_matrix(colour(saturation=0.5))[0] @ red
    assert torch.allclose(half, 0.5 * red + 0.5 * 0.299, atol=1e-5)
    turned = colour_matrix(colour(hue=1.0))[0] @ red
    assert torch.allclose(turned, red, atol=1e-4)


def test_contrast_turns_about_the_mean_brightness():
    frames = torch.zeros(1, 1, 2, 2, 3, dtype=torch.uint8)
    frames[0, 0, 0] = 255
    out = to_pixels(render(PackedClips.of(frames), geometry(0, 0, 2, 2), colour(contrast=0.5), 2))
    assert torch.allclose(out[0, :, 0, 0], torch.full((3, 2), 0.75), atol=1e-4)
    assert torch.allclose(out[0, :, 0, 1], torch.full((3, 2), 0.25), atol=1e-4)


def test_all_frames_of_a_clip_are_treated_alike():
    frames = random_frames(4, t=1)
    still = frames.expand(4, 5, -1, -1, -1)
    out = augment(PackedClips.of(still), Augment(), 16, numbers(len(still)))
    assert out.shape == (4, 3, 5, 16, 16)
    assert torch.equal(out, out[:, :, :1].expand_as(out))


def test_what_is_drawn_for_a_clip_depends_on_its_numbers_alone():
    frames = random_frames(4)
    rows = numbers(4)
    whole = augment(PackedClips.of(frames), Augment(), 16, rows)
    assert torch.equal(whole, augment(PackedClips.of(frames), Augment(), 16, numbers(4)))
    assert not torch.equal(
        whole, augment(PackedClips.of(frames), Augment(), 16, numbers(4, seed=6))
    )
    half = augment(PackedClips.of(frames[2:]), Augment(), 16, rows[2:])
    assert torch.allclose(whole[2:], half, atol=1e-5)


def test_without_blur_no_clip_is_blurred():
    frames = random_frames(4)
    sharp = augment(PackedClips.of(frames), Augment(blur=0.0), 16, numbers(4))
    faint = augment(
        PackedClips.of(frames), Augment(blur=1.0, blur_sigma=(0.0, 0.0)), 16, numbers(4)
    )
    assert torch.allclose(sharp, faint, atol=1e-5)


def test_crops_are_inside_and_of_the_area_asked_for():
    sizes = torch.tensor([[120, 160]] * 2000)
    settings = Augment(area=(0.2, 0.5))
    g = draw_geometry(settings, sizes, 112, numbers(len(sizes)))
    assert bool((g.top >= 0).all() and (g.top + g.height <= 120 + 1e-3).all())
    assert bool((g.left >= 0).all() and (g.left + g.width <= 160 + 1e-3).all())
    area = g.height * g.width / (120 * 160)
    assert 0.19 < area.min() < 0.21 and 0.49 < area.max() < 0.51
    assert 0.45 < g.flip.float().mean() < 0.55
    assert 0.45 < (g.sigma > 0).float().mean() < 0.55
