"""Group the members of a foreign tar into samples by their key, and choose the image of each sample.

The key is the path up to the first dot of the file name, as in WebDataset, unless the members show that the keys
themselves contain dots. Other members are counted, skipped by name, or refused; none is dropped unnoticed.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from job.datasets.file_kinds import ENDINGS, is_tool_file, is_tool_folder, kind_of
from job.datasets.image_search import Notes, printable
from job.datasets.tar_members import Member, read_parts
from job.system.errors import JobError

_TEXTS = ("cls", "json")
_MAX_TEXT_BYTES = 1 << 20  # of a .json or .cls
_IMAGES = {ending[1:] for ending in ENDINGS}

_Named = dict[str, list[Member]]  # members of a sample by the rest of the name after its key, in lower case


class Sample(NamedTuple):
    """An image in a tar, and the contents of its .cls and .json."""

    name: str  # path of the tar below the root, slash, key
    folders: tuple[str, ...]  # folders of the image within the tar
    image: tuple[int, int]  # offset and size in bytes
    cls: bytes | None
    json: bytes | None


def read_samples(path: str, origin: str, notes: Notes, image: str | None = None) -> Iterator[Sample]:
    """Yield every sample of a tar that has an image; `image` is its ending, for samples with several images.

    Raises JobError for a compressed file, and when a sample has several images and `image` does not select one.
    """
    parts, whole = read_parts(path, origin, notes)
    if not whole and parts and parts[-1]:
        last = _first_dot(parts[-1][-1].name)[0]  # its other members may be lost
        parts[-1] = [member for member in parts[-1] if _first_dot(member.name)[0] != last]
    if not any(parts):
        return
    with open(path, "rb") as file:
        for number, members in enumerate(parts, 1):
            where = origin if number == 1 else f"{origin}/part {number}"
            for key, named in _group(members, notes).items():
                chosen = _choose_image(path, key, _count_others(named, notes), notes, image)
                if chosen is not None:
                    yield from _sample(file, printable(f"{where}/{key}"), key, chosen, named, notes)


def _group(members: list[Member], notes: Notes) -> dict[str, _Named]:
    """Members by their keys, in the order of each key's first member."""
    groups: dict[str, _Named] = {}
    for member in members:
        *folders, name = member.name.split("/")
        if is_tool_file(name) or any(map(is_tool_folder, folders)):
            notes.left_out["hidden files and files of tools"] += 1
            continue
        key, ending = _first_dot(member.name)
        groups.setdefault(key, {}).setdefault(ending, []).append(member)
    by_key: dict[str, _Named] = {}
    for key, named in groups.items():
        for tail, own in _split_dotted(named).items():
            by_key[f"{key}.{tail}" if tail else key] = own
    return by_key


def _split_dotted(named: _Named) -> dict[str, _Named]:
    """Split the members of one key by the rest of their keys, which is "" unless keys contain dots.

    `a.1.jpg` and `a.1.cls` are a sample `a.1`, because each has its own label; `a.left.jpg`, `a.right.jpg` and `a.cls`
    are one sample. Images without any label (`a.1.jpg`, `a.2.jpg`) are one sample each.
    """
    if not any("." in ending for ending in named):
        return {"": named}
    split = [ending.rpartition(".")[::2] for ending in named]
    tails = {tail for tail, last in split if tail and last in _TEXTS}
    if not tails and not any(last in _IMAGES or last in _TEXTS for tail, last in split if not tail):
        tails = {tail for tail, last in split if last in _IMAGES}
    parts: dict[str, _Named] = {}
    for ending, members in named.items():
        tail = ending.rpartition(".")[0]
        dots = [i for i, letter in enumerate(tail) if letter == "."] + [len(tail)]
        own = next((tail[:dot] for dot in reversed(dots) if tail[:dot] in tails), "")
        parts.setdefault(own, {}).setdefault(ending[len(own) + 1 :] if own else ending, []).extend(members)
    return parts


def _count_others(named: _Named, notes: Notes) -> list[str]:
    """Return the endings of images and texts; count the members with other endings."""
    known = [ending for ending in named if ending.rpartition(".")[2] in _IMAGES or ending in _TEXTS]
    for ending in named:
        if ending not in known:
            notes.left_out.update(kind_of(printable(member.name)) for member in named[ending])
    return known


def _sample(file: BinaryIO, name: str, key: str, chosen: str, named: _Named, notes: Notes) -> Iterator[Sample]:
    """Yield the sample with the image of this ending; when it cannot be used, note it as skipped."""
    wanted = [ending for ending in (chosen, *_TEXTS) if ending in named]
    for ending in wanted:
        members = named[ending]
        if len(members) > 1:
            notes.skip(name, f"{len(members)} members are called {key[-80:]}.{ending}: each sample needs its own key")
            return
        if problem := _problem(members[0], ending):
            notes.skip(name, problem)
            return
    texts = {ending: _read(file, named[ending][0]) for ending in wanted[1:]}
    image = named[chosen][0]
    yield Sample(name, tuple(key.split("/")[:-1]), (image.offset, image.size), texts.get("cls"), texts.get("json"))


def _choose_image(path: str, key: str, endings: list[str], notes: Notes, wanted: str | None) -> str | None:
    """Return the ending of a sample's image, None without one; count other images. Raises JobError for several."""
    if not endings:
        return None
    images = [ending for ending in endings if ending not in _TEXTS]
    if wanted is not None:
        plain = [ending for ending in images if ending.lower() == wanted.lower().lstrip(".")]
    else:
        plain = [ending for ending in images if "." not in ending] or images
    if len(plain) > 1:
        raise JobError(
            f"{path}: {key[-80:]} has {len(plain)} images, {', '.join(f'.{ending}' for ending in plain[:5])}: "
            f"select one, --option image={plain[0]} for instance"
        )
    for ending in images:
        if ending not in plain:
            notes.left_out[f"images beside the sample's own, .{ending[:40]}"] += 1
    if not plain:
        notes.left_out["samples without an image" if wanted is None else f"samples without an image .{wanted}"] += 1
        return None
    return plain[0]


def _problem(member: Member, ending: str) -> str | None:
    """Return why a member cannot be used, None when it can."""
    problem = member.problem
    if problem is None and ending in _TEXTS and member.size > _MAX_TEXT_BYTES:
        problem = f"has {member.size >> 20} MiB"
    return problem if problem is None or ending not in _TEXTS else f"its .{ending}: {problem}"


def _read(file: BinaryIO, member: Member) -> bytes:
    return os.pread(file.fileno(), member.size, member.offset)


def _first_dot(name: str) -> tuple[str, str]:
    """Split the name of a member into key and ending, as WebDataset does."""
    folder, slash, base = name.rpartition("/")
    stem, _, rest = base.partition(".")
    tail, dot, ending = rest.rpartition(".")
    return f"{folder}{slash}{stem}", f"{tail}{dot}{ending.lower()}"
