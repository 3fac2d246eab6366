"""Small sets in the layouts of their publishers, of images of one colour each."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def paint(path: Path, colour: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), COLOURS[colour]).save(path)
    return path


def cells(words):
    """A cell array of texts, as MATLAB has lexicons: 1 x N."""
    row = np.empty((1, len(words)), object)
    row[0] = list(words)
    return row


def write_iiit5k(folder: Path, rows) -> Path:
    """(word, colour of the image, lexicon) for each image; an image of colour None is not there."""
    fields = [(name, object) for name in ("ImgName", "GroundTruth", "smallLexi", "mediumLexi")]
    data = np.empty((1, len(rows)), fields)
    for number, (word, colour, lexicon) in enumerate(rows):
        name = f"test/{number}_1.png"
        data[0, number] = (name, word, cells(lexicon[:2]), cells(lexicon))
        if colour:
            paint(folder / name, colour)
    folder.mkdir(exist_ok=True)
    savemat(folder / "testdata.mat", {"testdata": data}, do_compression=True)
    return folder


def write_svhn(folder: Path, digits, *, part="test") -> Path:
    """An image of each digit; a ten of the publisher's is a zero. Red grows with the digit."""
    folder.mkdir(exist_ok=True)
    pixels = np.zeros((32, 32, 3, len(digits)), np.uint8)
    pixels[:, :, 0] = [20 * digit for digit in digits]
    savemat(folder / f"{part}_32x32.mat", {"X": pixels, "y": np.array(digits, np.uint8)[:, None]})
    return folder


def write_memes(folder: Path, rows, *, name="dev.jsonl") -> Path:
    """(label, colour) for each meme."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number, (label, colour) in enumerate(rows):
        image = f"img/{number:05}.png"
        lines.append(json.dumps({"id": number, "img": image, "label": label, "text": "look how many people love you"}))
        if colour:
            paint(folder / image, colour)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def write_ucf101(folder: Path, clips) -> Path:
    """(class, name of the clip, colours of its frames) for each; the frames are files 1.png and so on."""
    lists = folder / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    classes = sorted({name for name, _, _ in clips})
    (lists / "classInd.txt").write_text("".join(f"{n} {name}\r\n" for n, name in enumerate(classes, 1)))
    (lists / "testlist01.txt").write_text("".join(f"{name}/{clip}.avi\r\n" for name, clip, _ in clips))
    for name, clip, colours in clips:
        for number, colour in enumerate(colours, 1):
            paint(folder / "UCF-101" / name / clip / f"{number}.png", colour)
    return folder


def write_rareact(folder: Path, rows) -> Path:
    """(video, start, class, verb, noun, annotation, colour) for each row; a clip is a folder of its frames."""
    folder.mkdir(exist_ok=True)
    lines = ["id,video_id,start,end,class_id,verb,noun,annotation"]
    for number, (video, start, label, verb, noun, annotation, colour) in enumerate(rows):
        lines.append(f"{number},{video},{start},{start + 10},{label},{verb},{noun},{annotation}")
        if colour:
            paint(folder / "rareact" / f"{video}_{start}_{start + 10}" / "1.png", colour)
    (folder / "rareact.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_im2gps(folder: Path, **parts) -> Path:
    """For test and reference (name, colour, latitude, longitude) for each photo."""
    for part, rows in parts.items():
        lines = ["IMG_ID,AUTHOR,LAT,LON,S3_Label"]
        (folder / part).mkdir(parents=True)
        for name, colour, latitude, longitude in rows:
            lines.append(f"{name},somebody@N00,{latitude},{longitude},1")
            if colour:
                paint(folder / part / "images" / name, colour)
        (folder / part / f"{part}_places365.csv").write_text("\n".join(lines) + "\n")
    return folder
