"""Tables, folders and labels of strangers: rows that vanished, structure guessed wrong, common files refused."""

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 60), "blue": (30, 60, 200)}
COUNT = (
    "python: import sys\nfrom seesay.data.pairs import open_pairs\ntry:\n"
    "    s = open_pairs({sources!r})\n"
    "    print(len(s), 'pairs', len(s.problems), 'problems', getattr(s, 'notes', ()))\n"
    "    print([s.captions(i) for i in range(len(s))][:12], [(p.key, p.reason) for p in s.problems][:5])\n"
    "except Exception as e:\n    print(type(e).__name__, e)\n"
)
Case = Callable[[Path], list[str]]


def picture(path: Path, colour: str = "red", shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), tuple(min(255, value + shade) for value in COLOURS[colour])).save(path)


def pairs(*sources: str) -> list[str]:
    return [COUNT.format(sources=list(sources))]


def table(name: str, text: str, images: int = 8, inside: str = "") -> Case:
    def case(folder: Path) -> list[str]:
        for number in range(images):
            picture(folder / inside / f"p{number}.jpg", shade=number)
        (folder / name).write_text(text, encoding="utf-8", newline="")
        return pairs(name)

    return case


def rows(captions: list[str], separator: str) -> str:
    lines = [f"p{number}.jpg{separator}{caption}" for number, caption in enumerate(captions)]
    return "\n".join([f"image{separator}caption", *lines]) + "\n"


def shards(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        with tarfile.open(folder / name, "w") as tar:
            data = io.BytesIO()
            Image.new("RGB", (8, 8)).save(data, "JPEG")
            for suffix, raw in (("jpg", data.getvalue()), ("txt", b"a square")):
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size = len(raw)
                tar.addfile(info, io.BytesIO(raw))


def shards_and_more(folder: Path) -> list[str]:
    shards(folder, ("00.tar", "01.TAR"))
    (folder / "02.tar.gz").write_bytes(b"x")
    picture(folder / "loose.jpg")
    (folder / "loose.txt").write_text("a loose pair")
    return pairs(".")


def braces(word: str) -> Case:
    def case(folder: Path) -> list[str]:
        shards(folder, ("s_000.tar", "s_001.tar", "s_002.tar"))
        return pairs(word)

    return case


def by_first_dot(folder: Path) -> list[str]:
    picture(folder / "k.input.jpg")
    (folder / "k.outputs.txt").write_text("a caption")
    return pairs(".")


def in_folder(name: str, text: str) -> Case:
    def case(folder: Path) -> list[str]:
        picture(folder / "a.jpg")
        picture(folder / "b.jpg", "blue")
        (folder / name).write_text(text, encoding="utf-8", newline="")
        return pairs(".")

    return case


def parquet(kind: str) -> Case:
    def case(folder: Path) -> list[str]:
        import pyarrow as pa
        from pyarrow import parquet as pq

        picture(folder / "a.jpg")
        raw = (folder / "a.jpg").read_bytes()
        columns = {
            "category": {"image": ["a.jpg"] * 3, "caption": pa.array(["x", "y", "x"]).dictionary_encode()},
            "view": {"image": ["a.jpg"] * 3, "caption": pa.array(["x", "y", "x"], pa.string_view())},
            "lists": {"image": ["a.jpg"], "caption": [["x", "y", "x"]]},
            "inside": {"image": [{"bytes": raw, "path": None}], "caption": [["x", "y", "x"]]},
            "bytes": {"image": [raw], "caption": [["x", "y", "x"]]},
        }[kind]
        pq.write_table(pa.table(columns), folder / "t.parquet")
        return pairs("t.parquet")

    return case


def links(*words: str) -> Case:
    def case(folder: Path) -> list[str]:
        picture(folder / "real" / "red" / "a.png")
        picture(folder / "real" / "blue" / "b.png", "blue")
        (folder / "linked").mkdir()
        for colour in ("red", "blue"):
            (folder / "linked" / colour).symlink_to(folder / "real" / colour)
        return list(words)

    return case


def classes(names: list[str], *words: str, parts: tuple[str, ...] = ("",), extra: str = "") -> Case:
    def case(folder: Path) -> list[str]:
        for part in parts:
            for number, name in enumerate(names):
                for index in range(2):
                    place = folder / "set" / part / name / f"{part}{index}.png"
                    picture(place, list(COLOURS)[number % 3], shade=index + 2 * len(part) + number)
        if extra:
            (folder / "set" / extra).write_text("0 0.5 0.5")
        (folder / "names.txt").write_text("".join(f"name {number}\n" for number in range(1, len(names) + 1)))
        return list(words)

    return case


def photos(*words: str) -> Case:
    def case(folder: Path) -> list[str]:
        picture(folder / "photos" / "a.png")
        picture(folder / "other" / "b.png", "blue")
        (folder / "labels.txt").write_text("# animals\ncat\n#1 fan\n")
        return list(words)

    return case


FRAME = (
    "python: import pyarrow as pa, seesay\nfrom PIL import Image\n"
    "for n in range(8): Image.new('RGB', (16, 16), (n * 20, 0, 0)).save(f'{n}.png')\n"
    "try:\n    m = seesay.train(SOURCE, model='conv-tiny', steps=2, batch_size=4, out='run')\n"
    "    print('trained', type(m).__name__)\n"
    "except BaseException as e:\n    print(type(e).__name__, e)\n"
)
TABLE = "pa.table({'image': [f'{n}.png' for n in range(8)], 'caption': ['a red square'] * 8})"
EXAMPLES = "[(Image.open(f'{n}.png'), 'a red square') for n in range(8)]"
TSV = ["a red square", '"a square on a hill', "a green one", '12" vinyl', "five", "six", "seven", "eight"]
LONG = "a very long label that goes " + "on and " * 60
PLAIN = {"file_name": "a.jpg", "text": "x"}


def quoted(folder: Path) -> list[str]:
    for number in range(3):
        picture(folder / f"p{number}.jpg", shade=number)
    with open(folder / "t.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image", "caption"], ["p0.jpg", 'two\nlines, "quoted"'], ["p1.jpg", "one"]])
    return pairs("t.csv")


CASES: list[tuple[str, str, Case, str]] = [
    ("A1", "a TSV with quote marks in captions", table("t.tsv", rows(TSV, "\t")), r"^8 pairs 0 problems"),
    (
        "A1",
        "a CSV with an inch mark",
        table("t.csv", rows(['12" vinyl', "b"], ",")),
        r"^2 pairs 0 problems.*\n.*12\" v",
    ),
    ("A1", "captions of two lines as a CSV writer writes them", quoted, r"^2 pairs 0 problems.*\n.*two\\nlines"),
    (
        "A2",
        "one quote left open in a CSV",
        table("t.csv", rows(["a", '"b', "c", "d", "e"], ",")),
        r"^4 pairs 1 prob.*\n.*line 3",
    ),
    (
        "A2",
        "a bare comma in a caption",
        table("t.csv", rows(["a, b", "c"], ",")),
        r"^1 pairs 1 prob.*\n.*too many columns",
    ),
    (
        "A3",
        "tars of two spellings, a packed one, a loose pair",
        shards_and_more,
        r"^3 pairs 1 problems.*\n.*compressed tar",
    ),
    ("A3", "shards_{000..002}.tar", braces("s_{000..002}.tar"), r"^3 pairs 0 problems"),
    ("A3", "a.tar::b.tar", braces("s_000.tar::s_001.tar"), r"^2 pairs 0 problems"),
    (
        "A6",
        "#1 fan in a file of labels",
        photos("classify", "photos", "--labels-file", "labels.txt"),
        r"#1 fan.*\n(.*\n)*exit 0",
    ),
    (
        "A6",
        "two columns of one name",
        table("t.csv", "image,caption,caption\np0.jpg,a,b\n"),
        "RefusedInput.*several columns",
    ),
    (
        "B1",
        "classes 1 to 10 with names",
        classes([str(n) for n in range(1, 11)], "evaluate", "box", "set", "--class-names", "names.txt"),
        r"'10' is 'name 10'|'2' is 'name 2'",
    ),
    ("B1", "WordNet numbers", classes(["n02690373", "n02124075"], "evaluate", "box", "set"), "called as in ImageNet"),
    ("B1", "names that are no words", classes(["1", "2", "3"], "evaluate", "box", "set"), "no words"),
    (
        "B2",
        "train/ and val/",
        classes(list(COLOURS), "evaluate", "box", "set", parts=("train", "val")),
        r"val/ is measured",
    ),
    (
        "B2",
        "a stray text among class folders",
        classes(list(COLOURS), "evaluate", "box", "set", extra="red/0.txt"),
        r"not read: 'red/0.txt'",
    ),
    (
        "B3",
        "a second folder among the photos",
        photos("classify", "photos", "other", "cat", "dog"),
        r"(?s)--labels.*exit 2",
    ),
    (
        "B3",
        "two places with --labels",
        photos("classify", "photos", "other", "--labels", "cat,dog"),
        r"(?s)other/b.png.*photos/a.png.*exit 0",
    ),
    (
        "B4",
        "evaluate one class",
        classes(["red"], "evaluate", "box", "set"),
        r"(?s)every answer would be right.*exit 2",
    ),
    ("B4", "probe X X", classes(list(COLOURS), "probe", "set", "set", "--penalty", "1"), "the same images, all of 6"),
    ("B5", "Cat and cat", photos("classify", "photos", "Cat", "cat"), r"(?s)are the same to the model.*exit 2"),
    (
        "B5",
        "two labels alike up to the context",
        photos("classify", "photos", LONG + "cat", LONG + "dog"),
        r"(?s)same to the model.*exit 2",
    ),
    ("B5", "a label that is cut", photos("classify", "photos", LONG, "cat"), r"1 label is cut at the \d+ tokens"),
    ("C", "KEY.input.jpg with KEY.outputs.txt", by_first_dot, r"^1 pairs 0 problems"),
    ("C", "backslashes of Windows", table("t.csv", "image,caption\nimg\\p0.jpg,x\n", 1, "img"), r"^1 pairs 0 problems"),
    (
        "C",
        "Flickr30k's results.csv",
        table("results.csv", "image_name| comment_number| comment\np0.jpg| 0| A cat .\n"),
        r"^1 pairs 0 problems",
    ),
    ("C", "Flickr8k's captions.txt", table("captions.txt", "image,caption\np0.jpg,A cat .\n"), r"^1 pairs 0 problems"),
    (
        "C",
        "Flickr8k.token.txt",
        table("Flickr8k.token.txt", "p0.jpg#0\tA cat .\np0.jpg#1\tA pet .\n"),
        r"^1 pairs 0 problems",
    ),
    (
        "C",
        "images in a folder beside the table",
        table("t.csv", "image,caption\np0.jpg,x\n", 1, "Images"),
        r"^1 pairs 0 problems.*'Images'",
    ),
    (
        "C",
        "metadata.csv in the folder",
        in_folder("metadata.csv", "file_name,text\na.jpg,x\n"),
        r"^1 pairs 1 problems.*metadata.csv",
    ),
    (
        "C",
        "metadata.jsonl in the folder",
        in_folder("metadata.jsonl", json.dumps(PLAIN) + "\n"),
        r"^1 pairs 1 problems.*metadata.jsonl",
    ),
    (
        "C",
        "captions.csv in the folder",
        in_folder("captions.csv", "image,caption\na.jpg,x\nb.jpg,y\n"),
        r"^2 pairs 0 problems",
    ),
    *(
        ("C", f"Parquet with {kind}", parquet(kind), r"^1 pairs 0 problems.*\n.*'x', 'y', 'x'")
        for kind in ("category", "view", "lists", "inside", "bytes")
    ),
    ("C", "a column that has to be named", table("t.csv", "foo,caption\np0.jpg,x\n"), "image.column"),
    (
        "C",
        "files that are nowhere",
        table("t.csv", "image,caption\nx/1.jpg,a\nx/2.jpg,b\n"),
        "looked for at '.*x/1.jpg'",
    ),
    ("C", "links: train", links("train", "linked", "--steps", "1"), r"(?s)link.*exit 2"),
    ("C", "links: classify", links("classify", "linked", "red", "blue"), r"(?s)link.*exit 2"),
    ("C", "links: evaluate", links("evaluate", "box", "linked"), r"(?s)link.*exit 2"),
    ("C", "a frame in Python", lambda folder: [FRAME.replace("SOURCE", TABLE)], "trained Model"),
    ("C", "a sequence of (image, caption)", lambda folder: [FRAME.replace("SOURCE", EXAMPLES)], "trained Model"),
]
