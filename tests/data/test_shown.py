"""Which picture, which stream, which pixels: what a viewer would see is what is read, and the report says how."""

import io
import itertools
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from dfrepro.data.faces import extract
from dfrepro.data.media import equally_spaced, open_media
from dfrepro.errors import WorkbookError

from .conftest import flat, moving_face, scene, write_video

SETTINGS = {"n_frames": 4, "size": 48, "margin": 0.25, "progress": False}
RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 180, 30), (40, 40, 200), (128, 128, 128)


def read(path, kind="video", n=100):
    with open_media(path, kind) as media:
        return media, dict(media.read(equally_spaced(media.count, n)))


def levels(frames, step=8):
    return [round((float(frame.mean()) - 20) / step) for frame in frames.values()]


def quarters(height=48, width=64):
    """Red, green / blue, grey: every turn and mirroring looks different."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = RED, GREEN
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = BLUE, GREY
    return picture


def seen_in(picture):
    """The colours' names in the quarters of a picture, top left, top right, bottom left, bottom right."""
    height, width = picture.shape[:2]
    names = []
    for y, x in itertools.product((height // 4, 3 * height // 4), (width // 4, 3 * width // 4)):
        distances = [np.abs(picture[y, x].astype(int) - colour).sum() for colour in (RED, GREEN, BLUE, GREY)]
        names.append("RGBx"[int(np.argmin(distances))])
    return "".join(names)


# --- pictures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "suffix"), [("MPO", ".jpg"), ("TIFF", ".tif")])
def test_of_several_pictures_in_one_file_the_first_is_read(tmp_path, video, form, suffix):
    first, second = (Image.fromarray(scene([(x, 150, 1.0)])) for x in (150, 330))
    path = tmp_path / f"phone{suffix}"
    first.save(path, form, save_all=True, append_images=[second, second])
    frames = read(path, "image")[1]
    assert list(frames) == [0]
    assert np.abs(frames[0].astype(int) - np.asarray(first)).mean() < 3
    store = extract([video("v", path, kind="image")], tmp_path / "s", **SETTINGS)
    assert len(store) == 1
    assert [entry["reason"] for entry in store.report["videos"]] == ["3 pictures in one file: the first is read"]
    assert store.report["counts"]["extracted"] == 1


def test_a_folder_of_such_pictures_is_as_many_frames_as_files(tmp_path):
    for name, value in (("a", 60), ("b", 120)):
        pictures = [Image.fromarray(np.full((40, 40, 3), shade, np.uint8)) for shade in (value, 250)]
        pictures[0].save(tmp_path / f"{name}.jpg", "MPO", save_all=True, append_images=pictures[1:])
    media, frames = read(tmp_path, "frames")
    assert [round(frame.mean()) for frame in frames.values()] == [60, 120]
    assert media.remarks == ["2 pictures in one file: the first is read"]


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"hevc"])
@pytest.mark.parametrize("name", ["IMG_1.HEIC", "IMG_1.jpg", "IMG_1.mp4"])
def test_a_heic_picture_is_refused_with_what_to_do_and_none_of_its_tiles_is_read(tmp_path, brand, name):
    content = write_video(tmp_path / "v.mp4", flat(2)).read_bytes()
    at = content.index(b"ftyp") + 4
    (tmp_path / name).write_bytes(content[:at] + brand + content[at + 4 :])  # FFmpeg would read this
    with pytest.raises(WorkbookError, match=r"HEIC.*JPEG"):
        read(tmp_path / name, "image")


def test_an_avif_picture_is_read(tmp_path):
    Image.fromarray(quarters()).save(tmp_path / "v.avif", quality=90)
    assert seen_in(read(tmp_path / "v.avif", "image")[1][0]) == "RGBx"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_and_mirrors_are_undone_and_noted(tmp_path, orientation):
    stored = Image.fromarray(quarters())
    for step in {  # how a camera that writes this orientation has stored the upright picture
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
    }[orientation]:  # fmt: skip
        stored = stored.transpose(step)
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "v.png", exif=exif)
    media, frames = read(tmp_path / "v.png", "image")
    assert np.array_equal(frames[0], quarters())
    assert media.remarks == ([] if orientation == 1 else ["turned or mirrored as its header asks"])


def test_transparent_parts_are_read_by_the_colours_below_and_noted(tmp_path):
    alpha = np.full((48, 64), 255, np.uint8)
    for name, value in (("opaque", 255), ("clear", 0)):
        alpha[:20] = value
        Image.fromarray(np.dstack([quarters(), alpha])).save(tmp_path / f"{name}.png")
        media, frames = read(tmp_path / f"{name}.png", "image")
        assert np.array_equal(frames[0], quarters())
        assert media.remarks == (["transparent: read by the colours below"] if name == "clear" else [])


# --- streams --------------------------------------------------------------------------------------------------------


def with_cover(path, container, order):
    """A file whose streams are, in `order`, c: one large white cover picture, v: eight frames."""
    with av.open(str(path), "w", format=container) as output:
        streams = {}
        for which in order:
            stream = output.add_stream("mjpeg" if which == "c" else "libx264", rate=1 if which == "c" else 25)
            stream.height, stream.width = (320, 320) if which == "c" else (48, 64)
            stream.pix_fmt = "yuvj420p" if which == "c" else "yuv420p"
            if which == "c":
                stream.disposition = Disposition.attached_pic
            streams[which] = stream
        for which in sorted(order):
            for picture in [np.full((320, 320, 3), 250, np.uint8)] if which == "c" else flat(8):
                output.mux(streams[which].encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(streams[which].encode())
    return path


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("order", ["cv", "vc"])
def test_a_cover_picture_is_not_taken_for_the_video(tmp_path, container, order):
    media, frames = read(with_cover(tmp_path / "v", container, order))
    assert levels(frames) == list(range(8))
    assert media.notes == []
    assert media.remarks[0].startswith("2 video streams or pictures in one file")


def test_music_with_a_cover_is_no_video(tmp_path):
    with pytest.raises(WorkbookError, match="cover picture and no video"):
        read(with_cover(tmp_path / "song.m4a", "mp4", "c"))


# --- pixels ---------------------------------------------------------------------------------------------------------


def encoded(path, frames, *, pix_fmt="yuv420p", given="rgb24", codec="libx264", options=None, **tags):
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options or {"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pix_fmt
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=given)))
        output.mux(stream.encode())
    return path


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(2), 128), (Fraction(1, 2), 32), (Fraction(16, 15), 68)])
def test_anamorphic_pixels_are_made_square(tmp_path, aspect, width):
    path = encoded(tmp_path / "v.mp4", [quarters()] * 2, sample_aspect_ratio=aspect)
    media, frames = read(path)
    assert frames[0].shape == (48, width, 3)
    assert seen_in(frames[0]) == "RGBx"
    assert media.remarks == [f"pixels of {aspect}: stretched to square ones"]


def test_a_face_in_anamorphic_pixels_is_cut_in_its_own_proportions(tmp_path, video):
    frames = moving_face(4)
    squeezed = [cv2.resize(frame, (240, 320), interpolation=cv2.INTER_AREA) for frame in frames]
    plain = video("plain", write_video(tmp_path / "plain.mp4", frames))
    tagged = video("tagged", encoded(tmp_path / "tagged.mp4", squeezed, sample_aspect_ratio=Fraction(2)))
    store = extract([plain, tagged], tmp_path / "s", **SETTINGS)
    boxes = np.stack(store.manifest["box"].to_list())
    assert np.abs(boxes[:4] - boxes[4:]).max() < 25
    assert set(store.manifest["source_width"]) == {480}
    assert store.report["videos"][0]["reason"] == "pixels of 2: stretched to square ones"
    assert store.report["counts"]["extracted"] == 2


def test_a_pixel_of_absurd_aspect_is_taken_for_square(tmp_path):
    media, frames = read(encoded(tmp_path / "v.mp4", [quarters()] * 2, sample_aspect_ratio=Fraction(8)))
    assert frames[0].shape == (48, 64, 3)
    assert "taken for square" in media.remarks[0]


UNIT = 65536
MATRICES = [(a, 0, 0, d) for a in (UNIT, -UNIT) for d in (UNIT, -UNIT)]
MATRICES += [(0, b, c, 0) for b in (UNIT, -UNIT) for c in (UNIT, -UNIT)]


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_turn_and_mirroring_of_a_display_matrix_is_applied(tmp_path, matrix):
    content = bytearray(write_video(tmp_path / "v.mp4", [quarters()] * 2).read_bytes())
    a, b, c, d = matrix
    struct.pack_into(">5i", content, content.index(b"tkhd") + 44, a, b, 0, c, d)
    (tmp_path / "v.mp4").write_bytes(content)
    media, frames = read(tmp_path / "v.mp4")
    places = {name: (x, y) for name, (y, x) in zip("RGBx", itertools.product((-1, 1), (-1, 1)), strict=True)}
    moved = {((a * x + c * y) // UNIT, (b * x + d * y) // UNIT): name for name, (x, y) in places.items()}
    assert seen_in(frames[0]) == "".join(moved[x, y] for y, x in itertools.product((-1, 1), (-1, 1)))
    assert media.remarks == ([] if matrix == MATRICES[0] else ["turned or mirrored as its header asks"])


YUV = (160, 110, 150)  # luma and chroma as stored


def reference(y, u, v, kr, kb, *, full):
    """ITU-R BT.601 / BT.709: R'G'B' in [0, 255] of stored 8-bit Y'CbCr."""
    luma = y / 255 if full else (y - 16) / 219
    cb, cr = ((u - 128) / 255, (v - 128) / 255) if full else ((u - 128) / 224, (v - 128) / 224)
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    return 255 * np.array([red, (luma - kr * red - kb * blue) / (1 - kr - kb), blue])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("space", "kr", "kb"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (2, 0.299, 0.114)])
def test_colours_are_those_of_the_streams_own_matrix_and_range(tmp_path, full, space, kr, kb):
    planes = np.empty((72, 64), np.uint8)
    planes[:48], planes[48:60], planes[60:] = YUV
    tags = {"color_range": 2 if full else 1, "colorspace": space}
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        output.mux(stream.encode())
    _, frames = read(path)
    assert np.abs(frames[0][20, 20] - reference(*YUV, kr, kb, full=full)).max() <= 2


@pytest.mark.parametrize("bits", [10, 12])
def test_more_than_eight_bits_are_scaled_to_eight(tmp_path, bits):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    given = np.repeat(np.repeat(ramp[None, :, None], 48, 0), 3, 2)
    path = encoded(
        tmp_path / "v.mkv", [given], codec="ffv1", pix_fmt=f"gbrp{bits}le", given="rgb48le", options={"level": "3"}
    )
    _, frames = read(path)
    assert np.abs(frames[0][20, :, 0] - ramp / 257).max() <= 1.5


@pytest.mark.parametrize(
    ("trc", "code", "light"),
    # published pairs of code value and light, as a share of the white of 203 cd/m2: BT.2408, Table 1 and Section 2.2
    [(16, 0.58, 1.0), (18, 0.75, 1.0), (16, 0.508, 100 / 203), (18, 0.0, 0.0), (16, 0.0, 0.0)],
)
def test_high_dynamic_range_is_shown_on_a_common_screen(tmp_path, trc, code, light):
    frame = np.full((48, 64, 3), round(65535 * code), np.uint16)
    path = encoded(
        tmp_path / "v.mkv", [frame] * 2, codec="libx265", pix_fmt="yuv420p10le", given="rgb48le",
        options={"crf": "4", "x265-params": "log-level=none"}, color_trc=trc, colorspace=9, color_primaries=9,
    )  # fmt: skip
    media, frames = read(path)
    kept = light if light <= 0.7 else 0.7 + 0.3 * (1 - np.exp(-(light - 0.7) / 0.3))
    assert np.abs(frames[0][20, 20] - 255 * kept ** (1 / 2.4)).max() <= 3
    assert media.remarks == [f"{'PQ' if trc == 16 else 'HLG'} high dynamic range: brought to standard range"]


def test_a_wide_gamuts_red_becomes_the_screens_red(tmp_path):
    red = np.array([0.6274, 0.0691, 0.0164])  # BT.709's red in BT.2020's primaries (ITU-R BT.2087)
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875  # SMPTE ST 2084
    power = (red * 100 / 10000) ** m1
    code = ((c1 + c2 * power) / (1 + c3 * power)) ** m2
    frame = np.tile(np.round(65535 * code).astype(np.uint16), (48, 64, 1))
    path = encoded(
        tmp_path / "v.mkv", [frame] * 2, codec="libx265", pix_fmt="yuv444p10le", given="rgb48le",
        options={"crf": "1", "x265-params": "log-level=none"}, color_trc=16, colorspace=9, color_primaries=9,
    )  # fmt: skip
    pixel = read(path)[1][0][20, 20]
    assert abs(pixel[0] - 255 * (100 / 203) ** (1 / 2.4)) <= 8
    assert pixel[1:].max() < 60  # of 190: what is left is rounding, near black


def test_alpha_of_a_video_is_noted(tmp_path):
    path = write_video(tmp_path / "v.mkv", flat(3), codec="ffv1", pix_fmt="yuva420p")
    assert read(path)[0].remarks == ["transparent: read by the colours below"]


@pytest.mark.parametrize(("height", "width"), [(47, 63), (33, 49)])
def test_odd_sides_are_kept(tmp_path, height, width):
    path = write_video(tmp_path / "v.mkv", flat(3, height, width), codec="ffv1", pix_fmt="yuv420p")
    assert read(path)[1][0].shape == (height, width, 3)


# --- time -----------------------------------------------------------------------------------------------------------


def test_a_variable_frame_rate_is_noted_and_an_even_one_in_rounded_stamps_is_not(tmp_path):
    uneven = write_video(tmp_path / "u.mkv", flat(6), times=[0, 10, 20, 30, 500, 510], container="matroska")
    rounded = write_video(tmp_path / "r.mkv", flat(6), times=[0, 33, 67, 100, 133, 167], container="matroska")
    assert read(uneven)[0].remarks == ["variable frame rate: frames are spaced by number, not by time"]
    assert read(rounded)[0].remarks == []


def test_what_an_edit_list_cuts_off_is_not_read_and_not_called_a_truncated_copy(tmp_path, video):
    content = bytearray(write_video(tmp_path / "v.mp4", flat(20), options={"bf": "2", "g": "10"}).read_bytes())
    at = content.index(b"elst") + 12
    duration, start = struct.unpack_from(">Ii", content, at)
    struct.pack_into(">Ii", content, at, duration - 200, start + 5 * 512)  # as a phone's editor: begin at frame 5
    (tmp_path / "v.mp4").write_bytes(content)
    media, frames = read(tmp_path / "v.mp4")
    assert levels(frames) == list(range(5, 20))
    assert media.notes == []
    assert media.remarks == ["5 frames that its edit list cuts off are not read"]


def test_frames_before_time_zero_are_hidden_as_players_hide_them(tmp_path):
    media, frames = read(write_video(tmp_path / "v.mp4", flat(20), first=-7, options={"bf": "2"}))
    assert levels(frames) == list(range(7, 20))
    assert media.notes == []
    assert media.remarks == ["7 frames that its edit list cuts off are not read"]


def test_a_transport_stream_that_starts_late_loses_nothing(tmp_path):
    with av.open(str(tmp_path / "v.ts"), "w", format="mpegts") as output:
        stream = output.add_stream("libx264", rate=25, options={"bf": "2", "g": "5"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for index, picture in enumerate(flat(20)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index + 10**6
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    media, frames = read(tmp_path / "v.ts")
    assert levels(frames) == list(range(20))
    assert not media.missing


def test_a_damaged_exif_block_loses_no_more_than_its_own_picture(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(quarters()).save(buffer, "JPEG", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12")
    (tmp_path / "1.jpg").write_bytes(buffer.getvalue())
    Image.fromarray(quarters()).save(tmp_path / "2.jpg")
    media, frames = read(tmp_path, "frames")
    assert 1 in frames
    assert sorted([*frames, *media.missing]) == [0, 1]
