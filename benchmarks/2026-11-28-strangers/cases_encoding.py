"""Options of every verb that encodes (E3), pages (E5), frames (C), and what lies beside photos (A4): what is tried."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40)}


def labelled(folder: Path) -> Path:
    """A folder of four images for each colour, with a film and a note beside them."""
    for name, colour in COLOURS.items():
        for number in range(4):
            path = folder / "set" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (24, 24), tuple(max(0, value - 9 * number) for value in colour)).save(path)
    (folder / "set" / "red" / "film.mp4").touch()
    return folder / "set"


def words(verb: str, *more: str) -> Callable[[Path], list[str]]:
    """That verb on the folder."""

    def make(folder: Path) -> list[str]:
        place = str(labelled(folder))
        of_verb = {
            "classify": ["classify", place, "red", "green"],
            "evaluate": ["evaluate", "box", place],
            "probe": ["probe", place, place, "--penalty", "1"],
        }
        return [*of_verb[verb], *(word.replace("FOLDER", str(folder)) for word in more)]

    return make


def python(code: str) -> Callable[[Path], str]:
    """Lines of Python with `place`, the folder, and `frame`, a table in memory of its images and their colours."""

    def make(folder: Path) -> str:
        return (
            "python: import pyarrow, re, seesay; from pathlib import Path; "
            f"place = Path({str(labelled(folder))!r}); files = sorted(map(str, place.rglob('*.png'))); "
            "captions = [f'a {Path(file).parent.name} square' for file in files]; "
            f"frame = pyarrow.table({{'image': files, 'caption': captions}}); {code}"
        )

    return make


BOTH = ("--precision", "bfloat16", "--batch-size", "3")
PAGE = "seesay.evaluate('box', place, report='x.html'); page = Path('x.html').read_text(); "
CASES = [
    ("A4", "a film beside the photos", words("classify"), r"left out, which are no photos: 1 x mp4.*exit 0"),
    ("E3", "classify --precision --batch-size", words("classify", *BOTH), r"red\.png|0\.png.*exit 0"),
    ("E3", "evaluate --precision --batch-size", words("evaluate", *BOTH), r"set .*zero-shot.*exit 0"),
    ("E3", "probe --precision --batch-size", words("probe", *BOTH), r"zero-shot .*all .*exit 0"),
    ("E3", "classify --precision float16", words("classify", "--precision", "float16"), r"0\.png.*exit 0"),
    ("E3", "classify --precision int8", words("classify", "--precision", "int8"), r"error: .*int8.*exit 2"),
    (
        "E3",
        "evaluate --batch-size 0",
        words("evaluate", "--batch-size", "0"),
        r"error: .*batch-size.*greater than or equal to 1.*exit 2",
    ),
    (
        "E3",
        "the report names the precision",
        words("evaluate", "--precision", "bfloat16", "--report", "FOLDER/x.html", "--json", "FOLDER/x.json"),
        r"zero-shot.*exit 0",
    ),
    (
        "E3",
        "rows in bfloat16 are near those in float32",
        python(
            "m = seesay.load('box'); a, b = (x.encode_images(files) for x in (m, m.with_precision('bfloat16'))); "
            "print('near', bool((a * b).sum(1).min() > 0.999), bool((a - b).abs().max() > 0))"
        ),
        r"near True True",
    ),
    (
        "E5",
        "figures are drawn in the page's colours, and no bitmap is white",
        python(PAGE + "print(page.count('<svg'), 'var(--ink)' in page, page.count('data:image/png'))"),
        r"\n?4 True 1\s+exit 0",
    ),
    ("E5", "a confusion matrix", python(PAGE + "print('Confusion matrix:' in page)"), r"True\s+exit 0"),
    (
        "E5",
        "a number at each bar",
        python(PAGE + "print(re.findall(r'>(\\d+\\.\\d)</text>', page)[:1])"),
        r"\['\d+\.\d'\]",
    ),
    ("C", "evaluate(frame)", python("print(seesay.evaluate('box', frame))"), r"box on frame(\.parquet)?:.*exit 0"),
    (
        "C",
        "doctor(frame)",
        python("print(seesay.doctor(frame, model='conv-tiny', batch_size=4, steps=2, seconds=1).pairs)"),
        r"\n?8\s+exit 0",
    ),
    (
        "C",
        "a Parquet file whose images are paths in structs",
        python(
            "import pyarrow.parquet as p; kinds = ('bytes', pyarrow.binary()), ('path', pyarrow.string()); "
            "kind = pyarrow.struct(kinds); "
            "rows = pyarrow.array([{'bytes': None, 'path': file} for file in files], kind); "
            "p.write_table(pyarrow.table({'image': rows, 'caption': ['x y'] * 8}), 't.parquet'); "
            "from seesay.data.pairs import open_pairs; s = open_pairs('t.parquet'); print(len(s), len(s.problems))"
        ),
        r"8 0\s+exit 0",
    ),
]
