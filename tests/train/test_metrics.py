"""The arithmetic of the evaluation, on cases whose results are known."""

import math

import numpy as np
import pytest
import torch
from detailflow_onnx.train import sheets
from detailflow_onnx.train.data import augment
from detailflow_onnx.train.evaluation import generation, metrics, report


def pictures(n, channels=4, size=16, seed=0):
    """Random premultiplied pictures in 0..1, blocks of 4 pixels."""
    x = torch.rand(n, channels, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    if channels == 4:
        x[:, :3] *= x[:, 3:]
    return x.repeat_interleave(4, 2).repeat_interleave(4, 3)


# ---------------------------------------------------------------- a picture beside a picture
def test_psnr_is_per_picture_and_bounded():
    want = torch.zeros(3, 4, 8, 8)
    got = want.clone()
    got[1] += 0.1
    got[2, 0, 0, 0] = 1.0
    assert metrics.psnr(want, got) == pytest.approx([100, 20, 10 * math.log10(256)], abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 8, 16])
def test_ssim_of_flat_pictures_is_the_luminance_term(size):
    a, b = torch.full((1, 3, size, size), 0.5), torch.full((1, 3, size, size), 0.8)
    assert metrics.ssim(a, a) == pytest.approx(1)
    assert metrics.ssim(a, b) == pytest.approx((2 * 0.4 + 1e-4) / (0.25 + 0.64 + 1e-4), abs=1e-6)


def test_ssim_matches_a_window_by_window_computation():
    a, b = (pictures(1, 1, 12, seed).double() for seed in (1, 2))
    line = np.exp(-((np.arange(7) - 3) ** 2) / 4.5)
    w = np.outer(line, line) / line.sum() ** 2
    x, y, found = a[0, 0].numpy(), b[0, 0].numpy(), []
    for i in range(6):
        for j in range(6):
            p, q = x[i : i + 7, j : j + 7], y[i : i + 7, j : j + 7]
            mp, mq = (w * p).sum(), (w * q).sum()
            vp, vq, both = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum(), (w * (p - mp) * (q - mq)).sum()
            found.append((2 * mp * mq + 1e-4) * (2 * both + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    assert metrics.ssim(a, b) == pytest.approx(np.mean(found))


def test_code_use_counts_and_perplexity_are_right():
    assert metrics.code_use([[5, 5], [5, 5]]) == {"distinct": 1, "perplexity": 1.0}
    even = metrics.code_use(np.arange(12).reshape(3, 4))
    assert even["distinct"] == 12 and even["perplexity"] == pytest.approx(12)
    assert 1 < metrics.code_use([0] * 99 + [1])["perplexity"] < 1.1


# ---------------------------------------------------------------- a set beside a set
def test_frechet_of_known_normal_distributions_is_exact():
    mean, a, b = np.array([1.0, -2.0, 0.0]), np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    assert metrics.frechet_of(mean, a, mean, a) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_of(mean, a, mean + 2, a) == pytest.approx(12)
    assert metrics.frechet_of(mean, a, mean, b) == pytest.approx((1 - 2) ** 2 + 0 + (3 - 1) ** 2)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    assert metrics.frechet_of(mean, turn @ a @ turn.T, mean, turn @ b @ turn.T) == pytest.approx(5)


def test_frechet_of_samples_and_of_constant_sets_is_right():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((20000, 4)), rng.standard_normal((20000, 4)) * 2 + 1
    assert metrics.frechet(a, b) == pytest.approx(8, rel=0.05)
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet(np.zeros((5, 4)), np.ones((5, 4))) == pytest.approx(4)


def test_frechet_with_weights_matches_a_balanced_set():
    rng = np.random.default_rng(2)
    few, many = rng.standard_normal((500, 3)) + 3, rng.standard_normal((4500, 3))
    rows, labels = np.concatenate([few, many]), np.repeat([0, 1], [500, 4500])
    even = np.concatenate([rng.standard_normal((4000, 3)) + 3, rng.standard_normal((4000, 3))])
    weights = metrics.balanced(labels)
    assert weights.sum() == pytest.approx(1) and weights[:500].sum() == pytest.approx(0.5)
    assert metrics.frechet(rows, even, weights) < 0.1 < metrics.frechet(rows, even)


def test_kernel_distance_separates_distributions():
    rng = np.random.default_rng(3)
    a, b, other = (rng.standard_normal((600, 8)) + shift for shift in (0, 0, 0.7))
    same, apart = metrics.kernel_distance(a, b), metrics.kernel_distance(a, other)
    assert abs(same["mean"]) < 3 * same["deviation"] + 0.02
    assert apart["mean"] > 10 * abs(same["mean"]) and apart["deviation"] > 0
    assert metrics.kernel_distance(a, other) == apart


def test_kernel_distance_omits_pairs_of_a_row_with_itself():
    a, b = np.array([[1.0], [3.0]]), np.array([[2.0], [0.0]])
    want = 4**3 + 1**3 - 2 * (3**3 + 1 + 7**3 + 1) / 4
    assert metrics.kernel_distance(a, b, subsets=3)["mean"] == pytest.approx(want)


def test_precision_recall_of_known_sets_are_right():
    rng = np.random.default_rng(4)
    real = rng.standard_normal((200, 2))
    assert metrics.precision_recall(real, real) == pytest.approx((1, 1))
    assert metrics.precision_recall(real, real + 1000) == pytest.approx((0, 0))
    narrow = real[:1] + 0.001 * rng.standard_normal((100, 2))
    precision, recall = metrics.precision_recall(real, narrow)
    assert precision > 0.9 and recall < 0.1
    assert metrics.precision_recall(real, real[:3])[1] is None and metrics.precision_recall(real[:3], real)[0] is None
    assert metrics.precision_recall(np.zeros((5, 2)), np.zeros((5, 2))) == pytest.approx((1, 1))


# ---------------------------------------------------------------- near-copies
@pytest.mark.parametrize("channels", [3, 4])
def test_nearest_finds_copies_under_flip_and_hue(channels):
    files = pictures(20, 3) * 0.3 + 0.35  # pale, so that no colour is cut when it turns
    if channels == 4:
        alpha = pictures(20, 3, seed=1)[:, :1]
        files = torch.cat([files * alpha, alpha], 1)
    copies = augment.rotate_hue_premultiplied(files[3:7], torch.full((4,), -2 * math.pi * 5 / 12)).flip(-1)
    rows, own = metrics.as_rows(files), np.full(20, 0.02)
    found = metrics.nearest(copies, rows, own, generation.variants(), metrics.as_rows, chunk=3)
    assert found.file.tolist() == found.copied.tolist() == [3, 4, 5, 6]
    assert (found.distance < 0.002).all() and (found.ratio < 0.1).all()
    plain = metrics.nearest(copies, rows, own, [lambda x: x], metrics.as_rows)
    assert (plain.distance > 0.02).all()


def test_nearest_ratio_divides_by_the_own_distance():
    files = np.array([[0.0], [1.0]])
    found = metrics.nearest(torch.tensor([[0.4]]), files, np.array([0.1, 2.0]), [lambda x: x], lambda x: x.numpy())
    assert found.distance[0] == pytest.approx(0.4) and found.file[0] == 0
    assert found.ratio[0] == pytest.approx(0.3) and found.copied[0] == 1


def test_near_copies_threshold_follows_known_copies():
    own = {"pixels": np.array([0.1, 0.2])}

    def of(*ratios):
        return {
            "pixels": metrics.Nearest(
                np.array(ratios) / 10, np.zeros(len(ratios), int), np.array(ratios), np.zeros(len(ratios), int)
            )
        }

    out = generation.near_copies(own, {"samples": of(0.5, 1.2, 1.4, 3.0)}, of(*np.linspace(0.5, 1.5, 101)))["pixels"]
    assert out["wide"] == pytest.approx(1.45) and out["known_copies_found"] == pytest.approx(51 / 101)
    assert out["groups"]["samples"]["share"] == 0.25 and out["groups"]["samples"]["share_wide"] == 0.75


def test_rotate_hue_keeps_alpha_and_greys():
    x = pictures(5)
    grey = torch.cat([x[:, :1].expand(-1, 3, -1, -1).clamp(max=1) * x[:, 3:], x[:, 3:]], 1)
    angle = torch.linspace(0.3, 6, 5)
    assert torch.allclose(augment.rotate_hue_premultiplied(grey, angle), grey, atol=1e-5)
    turned = augment.rotate_hue_premultiplied(x, angle)
    assert torch.equal(turned[:, 3:], x[:, 3:]) and (turned[:, :3] <= x[:, 3:] + 1e-5).all()
    assert not torch.allclose(turned, x, atol=0.05)


# ---------------------------------------------------------------- sheets and tables
def test_sheet_shows_each_picture_at_its_position():
    images = np.zeros((5, 4, 4, 4), np.uint8)
    images[..., 3] = 255
    images[:, :, :, 0] = (np.arange(5) * 50)[:, None, None]
    images[4] = 0  # nothing: the background shows
    sheet = np.asarray(sheets.grid(images, 3, scale=2, background="grey"))
    assert sheet.shape == (2 + 2 * 10, 2 + 3 * 10, 3)
    cells = [sheet[2 + 10 * (i // 3) : 10 + 10 * (i // 3), 2 + 10 * (i % 3) : 10 + 10 * (i % 3)] for i in range(6)]
    assert [int(c[..., 0].min()) for c in cells] == [0, 50, 100, 150, 128, sheets.PAPER[0]]
    assert all(len(np.unique(c.reshape(-1, 3), axis=0)) == 1 for c in cells)


def test_sheet_with_names_is_larger():
    images = np.full((4, 8, 8, 3), 200, np.uint8)
    plain, named = (
        sheets.grid(images, 2),
        sheets.grid(images, 2, rows=["potion", "ring"], heads=["file", "a long heading"]),
    )
    assert named.width > plain.width and named.height > plain.height
    assert (np.asarray(named) > 210).any() and not (np.asarray(plain) > 210).any()


def test_to_bytes_truncates():
    x = torch.tensor([-2.0, -1.0, -0.999, 0.0, 0.999, 1.0, 2.0]).view(7, 1, 1, 1).expand(-1, 3, -1, -1)
    assert sheets.to_bytes(x)[:, 0, 0, 0].tolist() == [0, 0, 0, 128, 255, 255, 255]
    straight = np.array([[[[255, 100, 0, 128]]]], np.uint8)
    assert sheets.premultiplied(straight).tolist() == [[[[128, 50, 0, 128]]]]
    assert sheets.enlarged(np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1), 4)[0, :, :, 0].tolist() == [
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [2, 2, 3, 3],
        [2, 2, 3, 3],
    ]


def test_report_marks_the_better_model():
    def model(psnr, frechet, size=16):
        level = {"size": 8, "tokens": 4, "psnr": psnr - 3}
        split = {
            "psnr": psnr,
            "ssim": 0.5,
            "codes": {"perplexity": 10.0},
            "levels": [level, {"size": size, "tokens": 16, "psnr": psnr}],
        }
        sets = {"frechet": frechet, "kernel": {"mean": 0.1}, "precision": 0.5, "recall": None}
        copies = {space: {"groups": {"samples": {"share": 0.0}}} for space in ("pixels", "features")}
        figures = {
            "held_out": sets,
            "training": sets,
            "classes": {"accuracy": 0.5, "top_3": 0.9},
            "near_copies": copies,
        }
        return {
            "about": {"tokenizer_id": "0123456789abcdef"},
            "reconstruction": {"held_out": split, "training": split},
            "generation": figures,
            "correction": {"noise": {}},
        }

    rows = {row["figure"]: row for row in report.compare([model(20.0, 5.0), model(21.0, 7.0, size=32)])}
    assert rows["PSNR of held-out files, dB"]["best"] == 1
    assert rows["Fréchet distance to training files"]["best"] == 0
    assert rows["SSIM of held-out files"]["best"] is None  # a tie
    assert rows["recall (training)"]["best"] is None and rows["gain of self-correction, near codes, dB"]["values"] == [
        None,
        None,
    ]
    assert all(row["best"] is None for row in report.compare([model(20.0, 5.0)]))
