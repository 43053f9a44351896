"""Bad inputs made on the fly: `make(folder, rng, every, flips)` writes them and says what each is to be read as."""

import io
import os
import random
import struct
import tarfile
import wave
import zipfile
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.data.conftest import flat, moving_face, scene, write_video

KILOBYTE = 1024
NAMES = ("a b.mp4", "日本 é.mp4", "a\nb.mp4", "-rf.mp4", "%d.mp4", "http:x.mp4", "concat:a|b.mp4", "<b>&'\".mp4",
         "x" * 240 + ".mp4", os.fsdecode(b"\xff\xfe.mp4"))  # fmt: skip
EIGHT_K = (4320, 7680)


def make(folder: Path, rng: random.Random, every: int, flips: int) -> list[tuple[str, Path, str]]:
    """Write the corpus below `folder`, which is empty: (name, path, kind) of each.

    every: a truncated copy at each so many bytes. flips: how many copies with a few damaged bytes.
    """
    good = write_video(folder / "good.mp4", moving_face(8), options={"crf": "23", "g": "4"}).read_bytes()
    picture = io.BytesIO()
    Image.fromarray(scene([(150, 150, 1.0)])).save(picture, "PNG")
    parts = (
        _truncated(folder, good, every), _flipped(folder, good, rng, flips), _containers(folder, good),
        _flipped(folder, picture.getvalue(), rng, flips // 2, ".png"), _sizes(folder), _pictures(folder),
        _phones(folder, good), _timed(folder), _streams(folder), _coloured(folder),
        _links(folder), _named(folder, good), _tars(folder, picture.getvalue()), _folders(folder, picture.getvalue()),
    )  # fmt: skip
    return [("good", folder / "good.mp4", "video"), *((path.name, path, kind) for part in parts for path, kind in part)]


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _truncated(folder: Path, good: bytes, every: int) -> Iterator[tuple[Path, str]]:
    for length in range(0, len(good), every):
        yield _written(folder / f"cut-{length:06d}.mp4", good[:length]), "video"


def _flipped(folder: Path, good: bytes, rng: random.Random, n: int, suffix: str = ".mp4") -> Iterator[tuple[Path, str]]:
    for number in range(n):
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 16)):
            place = rng.randrange(min(512, len(good)) if rng.random() < 0.3 else len(good))  # headers more often
            damaged[place] ^= rng.randint(1, 255)
        yield _written(folder / f"flipped-{number:03d}{suffix}", bytes(damaged)), "video"


def _containers(folder: Path, good: bytes) -> Iterator[tuple[Path, str]]:
    """Right and wrong content under wrong names."""
    for container in ("matroska", "avi", "mpegts", "h264"):
        yield write_video(folder / f"{container}.mp4", moving_face(3), container=container), "video"
    yield _written(folder / "video.png", good), "image"
    with wave.open(str(folder / "sound.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    yield folder / "sound.mp4", "video"
    with zipfile.ZipFile(folder / "archive.mp4", "w") as archive:
        archive.writestr("../outside.mp4", good)
    yield folder / "archive.mp4", "video"
    yield _written(folder / "text.mp4", b"#EXTM3U\nfile:///etc/passwd\n" * 50), "video"
    yield _written(folder / "noise.mp4", np.random.default_rng(0).bytes(10 * KILOBYTE)), "video"
    with av.open(str(folder / "no-frames.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        output.mux(stream.encode())
    yield folder / "no-frames.mp4", "video"


def _sizes(folder: Path) -> Iterator[tuple[Path, str]]:
    yield write_video(folder / "one-frame.mp4", moving_face(1)), "video"
    yield write_video(folder / "two-by-two.mkv", flat(2, 2, 2), codec="ffv1", pix_fmt="bgr0"), "video"
    Image.fromarray(flat(1, 2, 2)[0]).save(folder / "two-by-two.png")
    yield folder / "two-by-two.png", "image"
    height, width = EIGHT_K
    large = np.full((height, width, 3), 120, np.uint8)
    large[:2000, :3000] = np.kron(scene([(150, 150, 1.0)], 250, 300), np.ones((8, 10, 1), np.uint8))
    Image.fromarray(large).save(folder / "8k.jpg")
    yield folder / "8k.jpg", "image"
    for side in (10_000, 100_000):
        yield _written(folder / f"bomb-{side}.png", size_bomb(side)), "image"
    yield _written(folder / "bomb.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + bytes(64)), "image"


def size_bomb(side: int) -> bytes:
    """A PNG of a kilobyte that declares `side` x `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10**6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _pictures(folder: Path) -> Iterator[tuple[Path, str]]:
    face = scene([(150, 150, 1.0)])
    grey = face.mean(-1).astype(np.uint8)
    alpha = np.dstack([face, np.full(grey.shape, 9, np.uint8)])
    made = {
        "alpha.png": Image.fromarray(alpha),
        "16-bit.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "grey.png": Image.fromarray(grey),
        "palette.png": Image.fromarray(face).quantize(64),
        "one-bit.png": Image.fromarray(grey > 100),
        "cmyk.jpg": Image.fromarray(face).convert("CMYK"),
        "float.tiff": Image.fromarray(grey.astype(np.float32)),
    }
    for name, picture in made.items():
        picture.save(folder / name)
        yield folder / name, "image"
    frames = [Image.fromarray(frame) for frame in moving_face(3)]
    for name in ("animated.png", "animated.gif", "animated.webp"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
        yield folder / name, "image"


def _phones(folder: Path, good: bytes) -> Iterator[tuple[Path, str]]:
    """What telephones make: two pictures in one file, turned and mirrored ones, HEIC, pages, transparency."""
    face = Image.fromarray(scene([(150, 150, 1.0)]))
    other = Image.fromarray(scene([(330, 150, 0.8)]))
    for name, form in (("two-pictures.jpg", "MPO"), ("pages.tif", "TIFF"), ("depth.jpeg", "MPO")):
        pages = [other.copy() for _ in range(1 + (form == "TIFF"))]
        face.copy().save(folder / name, form, save_all=True, append_images=pages)
        yield folder / name, "image"
    content = (folder / "two-pictures.jpg").read_bytes()
    yield _written(folder / "cut-second-picture.jpg", content[: len(content) * 3 // 4]), "image"
    for orientation in range(2, 9):
        exif = face.getexif()
        exif[0x0112] = orientation
        face.save(folder / f"exif-{orientation}.jpg", exif=exif)
        yield folder / f"exif-{orientation}.jpg", "image"
    face.save(folder / "broken-exif.jpg", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff\x01\x12")
    yield folder / "broken-exif.jpg", "image"
    at = good.index(b"ftyp") + 4
    for brand, name in ((b"heic", "heic.jpg"), (b"mif1", "mif1.mp4"), (b"avif", "avif-brand.mp4")):
        yield _written(folder / name, good[:at] + brand + good[at + 4 :]), "image"
    face.save(folder / "picture.avif", quality=80)
    yield folder / "picture.avif", "image"
    face.convert("LA").save(folder / "grey-alpha.png")
    yield folder / "grey-alpha.png", "image"
    face.quantize(16).save(folder / "clear-colour.gif", transparency=3)
    yield folder / "clear-colour.gif", "image"


MATRICES = {
    "mirrored": (-65536, 0, 0, 65536), "upside-down": (65536, 0, 0, -65536), "quarter": (0, 65536, -65536, 0),
    "quarter-mirrored": (0, 65536, 65536, 0), "flat": (0, 0, 0, 0), "slanted": (46341, 46341, -46341, 46341),
}  # fmt: skip


def _timed(folder: Path) -> Iterator[tuple[Path, str]]:
    """Edit lists, times below zero, uneven steps, display matrices: what headers say beside the pictures."""
    content = write_video(folder / "edited.mp4", moving_face(8), options={"crf": "23", "bf": "2"}).read_bytes()
    at = content.index(b"elst") + 12
    duration, start = struct.unpack_from(">Ii", content, at)
    edits = {
        "edited": (duration - 120, start + 3 * 512), "edited-away": (1, start + 10**6), "edited-void": (0, -1),
        "edited-far": (2**32 - 1, 2**31 - 1),
    }  # fmt: skip
    for name, edit in edits.items():
        changed = bytearray(content)
        struct.pack_into(">Ii", changed, at, *edit)
        yield _written(folder / f"{name}.mp4", bytes(changed)), "video"
    for name, matrix in MATRICES.items():
        changed = bytearray(content)
        a, b, c, d = matrix
        struct.pack_into(">5i", changed, changed.index(b"tkhd") + 44, a, b, 0, c, d)
        yield _written(folder / f"matrix-{name}.mp4", bytes(changed)), "video"
    steps = {"uneven": [0, 5, 9, 400, 410, 4000], "backward": [0, 40, 80, 120, 160, 10**7]}
    for name, times in steps.items():
        path = folder / f"{name}.mkv"
        yield write_video(path, moving_face(6), times=times, container="matroska"), "video"
    yield write_video(folder / "below-zero.mp4", moving_face(8), first=-3), "video"


def _streams(folder: Path) -> Iterator[tuple[Path, str]]:
    """A cover picture before, after and without a video, in two containers; two videos in one file."""
    for suffix, container in (("mp4", "mp4"), ("mkv", "matroska")):
        for order in ("cv", "vc", "c", "vv"):
            path = folder / f"streams-{order}.{suffix}"
            with av.open(str(path), "w", format=container) as output:
                streams = [_stream(output, which) for which in order]
                for which, stream in zip(order, streams, strict=True):
                    for picture in moving_face(1 if which == "c" else 4):
                        output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                    output.mux(stream.encode())
            yield path, "video"


def _stream(output: av.container.OutputContainer, which: str) -> av.VideoStream:
    stream = output.add_stream("mjpeg" if which == "c" else "libx264", rate=25)
    stream.height, stream.width, stream.pix_fmt = 320, 480, "yuvj420p" if which == "c" else "yuv420p"
    if which == "c":
        stream.disposition = av.stream.Disposition.attached_pic
    return stream


def _coloured(folder: Path) -> Iterator[tuple[Path, str]]:
    """Pixels of other shapes, ranges, depths and gamuts, some of them told wrongly."""
    made = {  # name: codec, pixel format, tags
        "anamorphic": ("libx264", "yuv420p", {"sample_aspect_ratio": Fraction(4, 3)}),
        "anamorphic-absurd": ("libx264", "yuv420p", {"sample_aspect_ratio": Fraction(255, 1)}),
        "full-range": ("libx264", "yuvj420p", {"color_range": 2}),
        "pq": ("libx265", "yuv420p10le", {"color_trc": 16, "colorspace": 9, "color_primaries": 9}),
        "hlg": ("libx265", "yuv420p10le", {"color_trc": 18, "colorspace": 9, "color_primaries": 9}),
        "pq-in-8-bits": ("libx264", "yuv420p", {"color_trc": 16}),
        "10-bit": ("libx264", "yuv420p10le", {}), "12-bit": ("ffv1", "yuv420p12le", {}),
        "16-bit-grey": ("ffv1", "gray16le", {}), "alpha": ("ffv1", "yuva420p", {}),
        "odd": ("ffv1", "yuv444p", {}), "reserved-matrix": ("libx264", "yuv420p", {"colorspace": 3}),
    }  # fmt: skip
    for name, (codec, pixels, tags) in made.items():
        path = folder / f"pixels-{name}.mkv"
        frames = [frame[:319, :477] for frame in moving_face(3)] if name == "odd" else moving_face(3)
        with av.open(str(path), "w") as output:
            stream = output.add_stream(codec, rate=25)
            stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
            stream.options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
            for tag, value in tags.items():
                setattr(stream.codec_context, tag, value)
            for frame in frames:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            output.mux(stream.encode())
        yield path, "video"


def _links(folder: Path) -> Iterator[tuple[Path, str]]:
    for name, target in (("loop.mp4", "loop.mp4"), ("ping.mp4", "pong.mp4"), ("pong.mp4", "ping.mp4"),
                         ("nowhere.mp4", "absent"), ("folder-link.mp4", ".")):  # fmt: skip
        (folder / name).symlink_to(folder / target)
        yield folder / name, "video"
    os.mkfifo(folder / "pipe.mp4")
    yield folder / "pipe.mp4", "video"


def _named(folder: Path, good: bytes) -> Iterator[tuple[Path, str]]:
    for name in NAMES:
        yield _written(folder / name, good), "video"


def _tars(folder: Path, picture: bytes) -> Iterator[tuple[Path, str]]:
    """Members that would leave the folder, links, and an archive that ends early."""
    path = folder / "frames.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("1.png", "../../escaped.png", str(folder.parent / "escaped.png")):
            member = tarfile.TarInfo(name)
            member.size = len(picture)
            archive.addfile(member, io.BytesIO(picture))
        link = tarfile.TarInfo("2.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    yield path, "tar"
    content = path.read_bytes()
    for length in (0, 100, len(content) // 2):
        yield _written(folder / f"cut-{length}.tar", content[:length]), "tar"


def _folders(folder: Path, picture: bytes) -> Iterator[tuple[Path, str]]:
    frames = folder / "frames"
    frames.mkdir()
    for name, content in (("1.png", picture), ("2.png", picture[:500]), ("3.png", b""), ("4.png", b"text")):
        (frames / name).write_bytes(content)
    (frames / "5.png").symlink_to(frames / "5.png")
    (frames / "6.png").mkdir()
    yield frames, "frames"
    (folder / "no-frames").mkdir()
    yield folder / "no-frames", "frames"
