"""Whatever holds frames gives the right frames, or says why not; nothing hostile is decoded or followed."""

import io
import os
import struct
import tarfile
import zlib

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from dfrepro.data.media import equally_spaced, natural, open_media
from dfrepro.data.video import MAX_PIXELS, VideoFile
from dfrepro.errors import WorkbookError

from .conftest import flat, write_video


def read(path, kind="video", n=100):
    with open_media(path, kind) as media:
        frames = dict(media.read(equally_spaced(media.count, n)))
        return media, frames


def levels(frames, step=8):
    """The index that each flat frame's brightness tells."""
    return [round((float(frame.mean()) - 20) / step) for frame in frames.values()]


def noisy(n, height=48, width=64):
    rng = np.random.default_rng(0)
    base = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (2 * width, 2 * height))
    return [np.roll(base, 2 * i, axis=1)[:height, :width] for i in range(n)]


def test_equally_spaced_takes_the_middles_of_equal_parts():
    assert equally_spaced(10, 2) == [2, 7]
    assert equally_spaced(3, 8) == [0, 1, 2]
    for count, n in ((338, 32), (33, 32), (1000, 7)):
        chosen = equally_spaced(count, n)
        assert chosen == [int((i + 0.5) * count / n) for i in range(n)]
        assert len(set(chosen)) == n
        assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1


def test_numbers_in_names_sort_by_value():
    names = ["f10.png", "f9.png", "f09.png", "g1.png", "f" + "9" * 5000 + ".png"]
    assert sorted(names, key=natural)[0] in ("f9.png", "f09.png")
    assert sorted(names, key=natural)[2:] == ["f10.png", "f" + "9" * 5000 + ".png", "g1.png"]


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "container"),
    [
        ("libx264", "yuv420p", "mp4"),
        ("libx265", "yuv420p", "mp4"),
        ("libx264", "yuv420p", "matroska"),
        ("libx264", "yuv420p", "avi"),
        ("libx264", "yuv420p", "mpegts"),
        ("libx264", "yuv420p", "h264"),  # no index, no frame count, no time stamps
        ("ffv1", "gray16le", "matroska"),
        ("ffv1", "yuva420p", "matroska"),
        ("ffv1", "yuv420p10le", "matroska"),
    ],
)
def test_every_codec_and_container_gives_every_frame_whatever_its_suffix(tmp_path, codec, pix_fmt, container):
    path = write_video(tmp_path / "named wrong.mp4", flat(20), codec=codec, pix_fmt=pix_fmt, container=container)
    media, frames = read(path)
    assert list(frames) == levels(frames) == list(range(20))
    assert not media.missing
    assert not media.notes
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames.values())


def test_chosen_frames_have_the_pixels_that_plain_decoding_gives(tmp_path):
    path = write_video(tmp_path / "v.mp4", noisy(120), options={"g": "25", "bf": "3"})
    capture = cv2.VideoCapture(str(path))
    reference = [capture.read()[1][..., ::-1] for _ in range(120)]
    for wanted in ([3], [119], [2, 50, 51, 110], list(range(0, 120, 7))):
        frames = dict(VideoFile(path).read(wanted))
        assert list(frames) == wanted
        assert all(np.array_equal(frames[i], reference[i]) for i in wanted)


def test_far_frames_are_reached_without_decoding_all_before_them(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4", noisy(100), options={"g": "20", "bf": "0"})
    packets = []
    inner = av.container.InputContainer.demux

    class Counting:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.container.close()

        def demux(self, stream):
            for packet in inner(self.container, stream):
                packets.append(packet.pts)
                yield packet

    media = VideoFile(path)
    opened = media._opened
    monkeypatch.setattr(media, "_opened", lambda: Counting(opened()))
    assert list(dict(media.read([95]))) == [95]
    assert len(packets) <= 20


def test_a_phones_rotation_is_applied_as_opencv_applies_it(tmp_path):
    unturned = read(write_video(tmp_path / "0.mp4", noisy(3)))[1][0]
    for rotation in (90, 180, -90):
        path = write_video(tmp_path / f"{rotation}.mp4", noisy(3), rotation=rotation)
        reference = cv2.VideoCapture(str(path)).read()[1][..., ::-1]
        _, frames = read(path)
        assert np.array_equal(frames[0], reference)
        assert not np.array_equal(frames[0], unturned)


def test_a_variable_frame_rate_is_spaced_in_frames(tmp_path):
    times = [0, 10, 20, 30, 40, 50, 2000, 2500, 3000, 3700]
    path = write_video(tmp_path / "v.mkv", flat(10), times=times, container="matroska")
    media, frames = read(path, n=5)
    assert media.count == 10
    assert list(frames) == levels(frames) == [1, 3, 5, 7, 9]


@pytest.mark.parametrize(("height", "width"), [(2, 2), (47, 63), (1, 64)])
def test_odd_and_tiny_sizes_are_read(tmp_path, height, width):
    path = write_video(tmp_path / "v.mkv", flat(3, height, width), codec="ffv1", pix_fmt="bgr0")
    assert [f.shape for f in read(path)[1].values()] == [(height, width, 3)] * 3


def test_one_frame_is_a_video(tmp_path):
    assert list(read(write_video(tmp_path / "v.mp4", flat(1)), n=8)[1]) == [0]


def test_names_with_spaces_colons_newlines_and_unicode_are_read(tmp_path):
    content = write_video(tmp_path / "v.mp4", flat(2)).read_bytes()
    for name in ("a b\n%é.mp4", "http:x.mp4", "pipe:0", "日本.mp4", os.fsdecode(b"\xff\xfe.mp4")):
        (tmp_path / name).write_bytes(content)
        assert len(read(tmp_path / name)[1]) == 2


@pytest.mark.parametrize("kind", ["png", "gif", "webp"])
def test_every_frame_of_an_animated_picture_counts(tmp_path, kind):
    pictures = [Image.fromarray(frame) for frame in flat(6, step=20)]
    path = tmp_path / "named_wrong.mp4"
    pictures[0].save(
        path, kind, save_all=True, append_images=pictures[1:], **({"lossless": True} if kind == "webp" else {})
    )
    for as_kind in ("image", "video"):
        assert levels(read(path, as_kind)[1], 20) == list(range(6))


def test_pictures_of_every_mode_become_8_bit_rgb(tmp_path):
    grey16 = (np.arange(12, dtype=np.uint16) * 5957).reshape(3, 4)
    Image.fromarray(grey16).save(tmp_path / "grey16.png")
    expected = np.round(grey16 / 257.0).astype(np.uint8)
    assert np.array_equal(read(tmp_path / "grey16.png", "image")[1][0], np.repeat(expected[..., None], 3, axis=-1))
    rgba = np.dstack([np.full((3, 4), 200), np.full((3, 4), 10), np.full((3, 4), 30), np.zeros((3, 4))]).astype(
        np.uint8
    )
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    assert np.array_equal(read(tmp_path / "alpha.png", "image")[1][0], rgba[..., :3])
    Image.fromarray(np.full((8, 8, 4), (0, 255, 255, 0), np.uint8), "CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    red = read(tmp_path / "cmyk.jpg", "image")[1][0]
    assert red[..., 0].min() > 200
    assert red[..., 1:].max() < 60
    Image.fromarray(np.full((5, 7), 9, np.uint8)).save(tmp_path / "grey.png")
    assert read(tmp_path / "grey.png", "image")[1][0].shape == (5, 7, 3)


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.fromarray(noisy(1)[0])
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read(tmp_path / "turned.png", "image")[1][0], np.rot90(noisy(1)[0], -1))


def test_a_folder_of_frames_keeps_what_is_readable_and_names_what_is_not(tmp_path):
    for index, frame in enumerate(flat(12)):
        Image.fromarray(frame).save(tmp_path / f"f{index}.png")
    (tmp_path / "f3.png").write_bytes((tmp_path / "f3.png").read_bytes()[:60])
    (tmp_path / "f5.png").write_text("not a picture")
    (tmp_path / "f7.png").unlink()
    (tmp_path / "f7.png").symlink_to(tmp_path / "f7.png")
    (tmp_path / "._f1.png").write_bytes(b"a Mac was here")
    (tmp_path / "notes.txt").write_text("not a frame")
    media, frames = read(tmp_path, "frames")
    assert levels(frames) == list(frames) == [0, 1, 2, 4, 6, 8, 9, 10, 11]
    assert sorted(media.missing) == [3, 5, 7]
    assert all(f"f{i}.png" in why for i, why in media.missing.items())


def png(frame):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_of_frames_is_read_and_never_unpacked(tmp_path, mode):
    path = tmp_path / "clip.tar"
    with tarfile.open(path, mode) as archive:
        for name, index in (("clip/10.png", 2), ("../../9.png", 1), ("/etc/1.png", 0)):
            member = tarfile.TarInfo(name)
            content = png(flat(3)[index])
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("clip/0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    _, frames = read(path, "tar")
    assert sorted(levels(frames)) == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["clip.tar"]


def test_a_tree_has_the_frames_of_the_folders_below_it_one_folder_after_the_other(tmp_path):
    for number, name in enumerate(("seq_2/0.png", "seq_2/1.png", "seq_10/0.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(flat(3)[number]))
    (tmp_path / "seq_2/notes.txt").write_text("no frame")
    media, frames = read(tmp_path, "tree")
    assert media.names == ["seq_2/0.png", "seq_2/1.png", "seq_10/0.png"]
    assert levels(frames) == [0, 1, 2]


def test_a_truncated_tar_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "clip.tar").write_bytes(b"\x1f\x8b" + b"rubbish" * 99)
    with pytest.raises(WorkbookError, match="damaged archive"):
        read(tmp_path / "clip.tar", "tar")


def bomb(side):
    """A PNG of a few kilobytes that declares side x side pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [int(MAX_PIXELS**0.5) + 1, 100_000])
def test_a_declared_size_bomb_is_refused_before_a_pixel_is_decoded(tmp_path, side, monkeypatch):
    (tmp_path / "bomb.png").write_bytes(bomb(side))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(WorkbookError, match="pixels"):
        read(tmp_path / "bomb.png", "image")
    media, frames = read(tmp_path, "frames")
    assert not frames
    assert "pixels" in media.missing[0]


def test_a_video_that_declares_too_many_pixels_is_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "big.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 8192, MAX_PIXELS // 8192 + 2, "yuv420p"
        output.mux(stream.encode(av.VideoFrame(stream.width, stream.height, "yuv420p")))
        output.mux(stream.encode())
    monkeypatch.setattr(VideoFile, "_decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(WorkbookError, match="pixels"):
        read(path)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:1,\nfile://{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {other}\n",
        "hello" * 500,
        "",
    ],
)
def test_playlists_and_rubbish_are_refused_with_a_remedy(tmp_path, text):
    other = write_video(tmp_path / "other.mp4", flat(2))
    (tmp_path / "v.mp4").write_text(text.format(other=other))
    with pytest.raises(WorkbookError, match="download it again"):
        read(tmp_path / "v.mp4")


def test_links_in_a_loop_pipes_folders_and_absences_are_refused_without_waiting(tmp_path):
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name, why in (("loop", "link"), ("pipe", "regular"), ("folder", "regular"), ("absent", "exist")):
        with pytest.raises(WorkbookError, match=why):
            read(tmp_path / f"{name}.mp4")
    with pytest.raises(WorkbookError, match="no frames"):
        read(tmp_path / "folder.mp4", "frames")


def test_a_truncated_video_gives_what_it_holds_and_says_so(tmp_path):
    content = write_video(tmp_path / "v.mkv", noisy(80), container="matroska").read_bytes()
    (tmp_path / "v.mkv").write_bytes(content[: len(content) // 2])
    media, frames = read(tmp_path / "v.mkv")
    assert 0 < media.count < 80
    assert len(frames) >= media.count - 2
    assert any("ends early" in note for note in media.notes)


def test_no_truncation_and_no_flipped_byte_does_more_than_lose_frames(tmp_path):
    content = write_video(tmp_path / "v.mp4", noisy(40)).read_bytes()
    rng = np.random.default_rng(1)
    damaged = [content[:cut] for cut in range(0, len(content), 1024)]
    for _ in range(20):
        flipped = np.frombuffer(content, np.uint8).copy()
        flipped[rng.integers(0, len(content), 8)] ^= 1 << rng.integers(0, 8, 8, dtype=np.uint8)
        damaged.append(flipped.tobytes())
    outcomes = set()
    for content in damaged:
        (tmp_path / "v.mp4").write_bytes(content)
        try:
            media, frames = read(tmp_path / "v.mp4", n=8)
        except WorkbookError as error:
            outcomes.add("refused" if error.remedy else "refused without a remedy")
        else:
            assert sorted([*frames, *media.missing]) == equally_spaced(media.count, 8)
            outcomes.add("read")
    assert outcomes == {"refused", "read"}
