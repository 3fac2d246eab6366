"""Frames of real video files, made here with PyAV: which are taken, and what is said of damaged ones."""

import io

import numpy as np
import pytest
from PIL import Image

from seesay.base.errors import BrokenSample, UsageError
from seesay.data.clips import FRAMES, frames_of, spread
from seesay.data.videos import SHORTER, open_video

av = pytest.importorskip("av", reason="PyAV is not here: pip install 'seesay[video]'")
RED, BLUE = (200, 20, 20), (20, 20, 200)


def write_video(path, colours, *, rate=10, codec="mpeg4", size=(64, 48), title=""):
    """A frame for each colour."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for colour in colours:
            pixels = np.broadcast_to(np.array(colour, np.uint8), (size[1], size[0], 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    return path


def reds(clip):
    """Whether each frame is more red than blue."""
    means = [np.asarray(Image.open(io.BytesIO(frame.read()))).mean((0, 1)) for frame in frames_of(clip)]
    return [bool(mean[0] > mean[2]) for mean in means]


@pytest.mark.parametrize(("ending", "codec"), [("avi", "mpeg4"), ("mp4", "mpeg4"), ("mkv", "mpeg2video")])
def test_frames_are_spread_over_a_video_and_over_a_part_of_it(tmp_path, ending, codec):
    path = write_video(
        tmp_path / f"clip.{ending}", [RED] * 20 + [BLUE] * 20, rate=10 if codec == "mpeg4" else 25, codec=codec
    )
    seconds = 4.0 if codec == "mpeg4" else 1.6
    assert reds(open_video(path)) == [True] * 8 + [False] * 8
    assert reds(open_video(path, start=seconds / 2, end=seconds)) == [False] * FRAMES
    assert reds(open_video(path, start=0, end=seconds / 2)) == [True] * FRAMES
    assert reds(open_video(path, start=seconds / 4, end=3 * seconds / 4)) == [True] * 8 + [False] * 8


def test_as_one_image_a_clip_is_its_middle_frame(tmp_path):
    clip = open_video(write_video(tmp_path / "clip.mp4", [RED] * 19 + [BLUE] * 21))
    assert clip.read() == frames_of(clip)[8].read() and not reds(clip)[8]
    assert (
        clip.location == f"{tmp_path}/clip.mp4, frame 9 of 16" and clip.size == (tmp_path / "clip.mp4").stat().st_size
    )


def test_a_video_of_few_frames_has_each_as_often_as_another(tmp_path):
    assert reds(open_video(write_video(tmp_path / "clip.mp4", [RED, BLUE]))) == [True] * 8 + [False] * 8


def test_large_frames_are_shrunk(tmp_path):
    clip = open_video(write_video(tmp_path / "clip.mp4", [RED] * 2, size=(1600, 1200)))
    assert Image.open(io.BytesIO(clip.read())).size == (683, SHORTER)


def test_what_is_no_video_ends_early_or_has_no_frame_there_is_a_broken_sample(tmp_path):
    noise = [np.random.default_rng(number).integers(0, 255, (48, 64, 3)) for number in range(40)]
    whole = write_video(tmp_path / "whole.avi", noise).read_bytes()
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "cut.mp4").write_bytes(write_video(tmp_path / "w.mp4", [RED] * 40).read_bytes()[:200])
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BrokenSample, match=r"video that cannot be decoded: .*text\.mp4"):
        open_video(tmp_path / "text.mp4").read()
    with pytest.raises(BrokenSample, match="cannot be decoded"):
        open_video(tmp_path / "cut.mp4").read()
    with pytest.raises(BrokenSample, match="no frame from 60 to 70 s"):
        open_video(tmp_path / "whole.avi", start=60, end=70).read()
    with pytest.raises(BrokenSample, match=r"it ends early: \d+ of 40 frames are there"):
        open_video(tmp_path / "half.avi").read()


def test_a_title_in_another_encoding_takes_nothing_from_a_video(tmp_path):
    path = write_video(tmp_path / "clip.avi", [RED] * 20, title="Caf? M?ller")
    written = path.read_bytes()
    assert b"Caf? M?ller" in written
    path.write_bytes(written.replace(b"Caf? M?ller", "Caf\xe9 M\xfcller".encode("latin-1")))
    assert reds(open_video(path)) == [True] * FRAMES


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install 'seesay\[video\]'"):
        open_video(tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    ("count", "numbers"), [(1, [0]), (3, [0, 1, 2]), (16, list(range(16))), (32, list(range(1, 32, 2)))]
)
def test_frames_are_the_middles_of_equal_parts(count, numbers):
    assert spread(count) == numbers
