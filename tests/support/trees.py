"""Small data sets of generated images, laid out like the real ones, with unexpected files among them."""

import csv
import io
import json
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

EMOTIONS = ("neutral", "joy", "sadness", "surprise", "anger", "fear", "disgust")


def picture(number: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A picture, (width, height) px, that no other number has; red above and blue below, to see which way is up."""
    rng = np.random.default_rng(number)
    pixels = np.kron(rng.integers(0, 60, (4, 4, 3)), np.ones((size[1] // 4, size[0] // 4, 1))).astype(np.uint8)
    pixels[: len(pixels) // 2, :, 0] += 190
    pixels[len(pixels) // 2 :, :, 2] += 190
    return Image.fromarray(pixels)


def put(path: Path, number: int, **settings) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        settings = {"quality": 95, "subsampling": 0, **settings}
    picture(number).save(path, format=settings.pop("format", None), **settings)
    return path


def folders(root: Path, domains=("Male", "Female"), splits=("",), each=6, names=EMOTIONS, first=0) -> Path:
    number = first
    for split in splits:
        for domain in domains:
            for name in names:
                for i in range(each):
                    put(root / split / domain / name / f"{i}.jpg", number)
                    number += 1
    return root


def unlabelled(folder: Path, count: int, first: int = 50_000) -> Path:
    """Images that lie in `folder` and in no folder of a class."""
    for i in range(count):
        put(folder / f"{i:04d}.jpg", first + i)
    return folder


def table(root: Path, rows: list[dict], name: str = "labels.csv", delimiter: str = ",") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with open(root / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return root / name


def kdef(root: Path, people: int = 8) -> Path:
    """Both sessions, two of the five angles, in subject folders as delivered."""
    number = 0
    for gender in "FM":
        for person in range(1, people + 1):
            for session in "AB":
                for emotion in ("AF", "AN", "DI", "HA", "NE", "SA", "SU"):
                    for angle in ("S", "HL"):
                        name = f"{session}{gender}{person:02d}{emotion}{angle}.JPG"
                        put(root / f"{session}{gender}{person:02d}" / name, number, format="JPEG")
                        number += 1
    return root


def ferg(root: Path, each: int = 3) -> Path:
    number = 0
    for name in ("ray", "malcolm", "jules", "bonnie", "mery", "aia"):
        for emotion in EMOTIONS:
            for i in range(each):
                put(root / name / f"{name}_{emotion}" / f"{name}_{emotion}_{i}.png", number)
                number += 1
    return root


def rafdb(root: Path, train: int = 84, test: int = 28, spelling: str = "patition") -> Path:
    """Lists, aligned images and attribute files; every fifth person is of unsure gender."""
    lines, number = [], 0
    for split, count in (("train", train), ("test", test)):
        for i in range(1, count + 1):
            stem = f"{split}_{i:05d}" if split == "train" else f"{split}_{i:04d}"
            put(root / "basic/Image/aligned" / f"{stem}_aligned.jpg", number)
            lines.append(f"{stem}.jpg {i % 7 + 1}")
            people = root / "basic/Annotation/manual"
            people.mkdir(parents=True, exist_ok=True)
            gender = 2 if i % 5 == 0 else i % 2
            marks = "".join(f"{10.5 + n}\t{20.25}\n" for n in range(5))
            (people / f"{stem}_manu_attri.txt").write_text(f"{marks}{gender}\n0\n3\n")
            number += 1
    (root / "basic/EmoLabel").mkdir()
    (root / f"basic/EmoLabel/list_{spelling}_label.txt").write_text("\n".join(lines) + "\n")
    return root


def fer2013(root: Path, rows: int = 140, header: str = "emotion,pixels,Usage") -> Path:
    """fer2013.csv, and genders.csv by row."""
    root.mkdir(parents=True, exist_ok=True)
    usages = ("Training",) * 5 + ("PublicTest", "PrivateTest")
    lines = [header]
    for i in range(rows):
        pixels = " ".join(map(str, np.asarray(picture(i, (48, 48)).convert("L")).ravel()))
        cells = {"emotion": str(i % 7), "pixels": pixels, "usage": usages[i // 14 % 7]}
        lines.append(",".join(cells[name.strip().lower()] for name in header.split(",")))
    name = "fer2013.csv" if header == "emotion,pixels,Usage" else "icml_face_data.csv"
    (root / name).write_text("\n".join(lines) + "\n")
    table(root, [{"image": i, "gender": "male" if i // 7 % 2 else "Female"} for i in range(rows)], "genders.csv")
    return root


def jaffe(root: Path) -> Path:
    number = 1
    for person in ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM"):
        for emotion in ("NE", "HA", "SA", "SU", "AN", "DI", "FE"):
            for take in (1, 2):
                put(root / f"{person}.{emotion}{take}.{number}.tiff", 5000 + number)
                number += 1
    return root


def ckplus(root: Path, people: int = 6) -> Path:
    """Sequences of six frames, an emotion file for all but the last sequence of each person; one of contempt."""
    for person in range(people):
        for sequence in range(1, 9):
            stem = f"S{person + 5:03d}_{sequence:03d}"
            place = f"S{person + 5:03d}/{sequence:03d}"
            for frame in range(1, 7):
                put(
                    root / "cohn-kanade-images" / place / f"{stem}_{frame:08d}.png",
                    7000 + person * 100 + sequence * 10 + frame,
                )
            if sequence < 8:
                (root / "Emotion" / place).mkdir(parents=True)
                (root / "Emotion" / place / f"{stem}_{6:08d}_emotion.txt").write_text(f"   {sequence}.0000000e+00\n")
    return root


def tars(root: Path, shards: int = 2, each: int = 42, first: int = 0, folder: str = "", **changes) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(root / f"{shard}.tar", "w") as tar:
            for i in range(each):
                number = first + shard * each + i
                image = io.BytesIO()
                picture(number).save(image, "PNG")
                about = {"domain": ("male", "female")[number // 7 % 2], "subject": f"p{number // 14}{number // 7 % 2}"}
                members = {
                    "png": image.getvalue(),
                    "cls": str(number % 7).encode(),
                    "json": json.dumps(about).encode(),
                }
                kept = {ending: content for ending, content in (members | changes).items() if content is not None}
                for ending, content in kept.items():
                    member = tarfile.TarInfo(f"{folder}{number:05d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return root


def bomb(path: Path) -> Path:
    """A PNG of 20,000 x 20,000 px in a few hundred bytes of header; its pixels would take 1.2 GB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    start = zlib.compress(bytes(60_001))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", start) + chunk(b"IEND", b""))
    return path


def odd_but_good(folder: Path) -> dict[str, Path]:
    """Files that must be read, whatever they look like."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "upper": put(folder / "UPPER.JPG", 901, format="JPEG"),
        "blanks": put(folder / "with blanks and (brackets).jpeg", 902),
        "foreign": put(folder / "fröhlich-笑顔.png", 903),
    }
    made["grey"] = folder / "grey.jpg"
    picture(904).convert("L").save(made["grey"])
    made["deep"] = folder / "sixteen.png"
    Image.fromarray(np.asarray(picture(905).convert("L")).astype(np.uint16) * 257).save(made["deep"])
    made["alpha"] = folder / "alpha.png"
    see_through = picture(906).convert("RGBA")
    see_through.putalpha(Image.new("L", see_through.size, 128))
    see_through.save(made["alpha"])
    made["palette"] = folder / "palette.png"
    picture(907).quantize(16).save(made["palette"], transparency=0)
    made["turned"] = folder / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was on its side: turn by 90 degrees clockwise to view
    picture(908).rotate(90, expand=True).save(made["turned"], exif=exif, quality=95)
    made["moving"] = folder / "moving.gif"
    picture(909).save(made["moving"], save_all=True, append_images=[picture(910), picture(911)], duration=40)
    made["cmyk"] = folder / "print.jpg"
    picture(912).convert("CMYK").save(made["cmyk"])
    made["link"] = folder / "link.jpg"
    made["link"].symlink_to(put(folder.parent.parent / "elsewhere" / "original.jpg", 913).resolve())
    return made


def odd_and_bad(folder: Path) -> dict[str, str]:
    """Files that must be skipped: name and a part of the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("this is no picture\n")
    bomb(folder / "bomb.png")
    whole = put(folder / "cut.png", 920).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    whole = put(folder / "cut.jpg", 921).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "nowhere.jpg").symlink_to("nothing there.jpg")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "around").symlink_to("..")  # a loop of folders: nothing to skip, and no end if it were followed
    return {
        "empty.jpg": "the file is empty",
        "text.jpg": "not an image of a known format",
        "bomb.png": "20000 x 20000 pixels|more than 64 million pixels",
        "cut.png": "",
        "cut.jpg": "",
        "loop.jpg": "symbolic links|a broken link",
        "nowhere.jpg": "a broken link",
        "pipe.jpg": "not a plain file",
    }


# For a program that watches its memory, in KiB. Not getrusage: a process begins with the peak of the one that made it.
PEAK = """
import re
def peak(): return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""
