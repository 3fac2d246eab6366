"""What the sets of `drawn_sets` show: one function per set, which draws an image of a class, all else by chance."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Pixels of an image, and of the canvas that it is shrunk from so that edges are smooth; guesses.
SIDE = 160
CANVAS = 2 * SIDE
Colour = tuple[int, int, int]
COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "blue": (33, 85, 205),
    "green": (40, 150, 60),
    "yellow": (245, 205, 30),
    "purple": (130, 50, 160),
    "orange": (245, 130, 30),
}
# Guesses at what each colour stands out from.
GROUNDS: Sequence[Colour] = ((250, 250, 248), (225, 230, 235), (240, 228, 205), (60, 65, 75), (205, 225, 205))
# Tries to find room for an object before the others are placed anew; a guess.
TRIES = 60


# Guesses: fields of noise that images share, and the most shapes in one of them.
FIELDS, MOST_SHAPES = 64, 14


def textures(count: int, side: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """Images (S, S, 3), uint8, that show nothing but have the statistics of photos, the same for the same numbers.

    Shaded discs and rectangles, small ones more often, over noise whose amplitude falls as a power of the frequency:
    dead leaves and spectra, as Baradad et al. 2021, "Learning to See by Looking at Noise", section 3, has them.
    """
    chance = np.random.default_rng(seed)
    down, across = np.mgrid[:side, :side].astype(np.float32)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = np.inf
    fields = []
    for _ in range(FIELDS):
        spectrum = np.fft.fft2(chance.standard_normal((side, side))) / frequency ** chance.uniform(0.5, 1.8)
        field = np.fft.ifft2(spectrum).real
        fields.append((field / field.std()).astype(np.float32))
    for _ in range(count):
        noise = [fields[number] * chance.uniform(5, 50) for number in chance.integers(FIELDS, size=4)]
        image = np.stack([chance.uniform(0, 255) + noise[channel] + noise[3] for channel in range(3)], axis=-1)
        for _ in range(chance.integers(MOST_SHAPES)):
            radius = min(0.7 * side, side / 16 / (chance.random() ** 0.5 + 1e-3))
            (x, y), turn = chance.uniform(0, side, 2), chance.uniform(0, np.pi)
            u = (across - x) * np.cos(turn) + (down - y) * np.sin(turn)
            v = ((down - y) * np.cos(turn) - (across - x) * np.sin(turn)) * chance.uniform(0.4, 2.5)
            inside = np.hypot(u, v) < radius if chance.random() < 0.5 else np.maximum(abs(u), abs(v)) < radius
            shade = u[inside] / radius * chance.uniform(-40, 40)
            texture = fields[chance.integers(FIELDS)][inside] * chance.uniform(0, 40)
            image[inside] = chance.uniform(0, 255, 3) + (shade + texture)[:, None]
        yield np.clip(image, 0, 255).astype(np.uint8)


def ground(chance: random.Random) -> Image.Image:
    """An empty ground of one of a few colours."""
    return Image.new("RGB", (CANVAS, CANVAS), chance.choice(GROUNDS))


def shape(draw: ImageDraw.ImageDraw, kind: str, centre: tuple[float, float], radius: float, colour: Colour) -> None:
    """A circle, square, triangle or star around a point."""
    x, y = centre
    if kind == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        return
    corners = {"square": 4, "triangle": 3, "star": 10}[kind]
    turn = -math.pi / 2 + (math.pi / 4 if kind == "square" else 0)
    reach = [radius * (0.45 if kind == "star" and number % 2 else 1.1) for number in range(corners)]
    angles = [turn + 2 * math.pi * number / corners for number in range(corners)]
    draw.polygon([(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(reach, angles, strict=True)], fill=colour)


def apart(chance: random.Random, count: int, radius: float, *, edge: float = 6) -> list[tuple[float, float]]:
    """So many points on the canvas at which circles of that radius neither touch nor leave it."""
    while True:
        points: list[tuple[float, float]] = []
        for _ in range(TRIES * count):
            point = tuple(chance.uniform(radius + edge, CANVAS - radius - edge) for _ in range(2))
            if all(math.dist(point, other) > 2.3 * radius for other in points):
                points.append(point)  # type: ignore[arg-type]
            if len(points) == count:
                return points
        radius *= 0.95


def counting(chance: random.Random, label: int) -> Image.Image:
    """`label` + 1 objects in one of three styles: discs of one colour, mixed shapes, or shaded balls."""
    image = ground(chance)
    draw = ImageDraw.Draw(image)
    style = chance.choice(("discs", "shapes", "balls"))
    radius = chance.uniform(24, 34)
    one = chance.choice(list(COLOURS.values()))
    for x, y in apart(chance, label + 1, radius):
        colour = one if style == "discs" else chance.choice(list(COLOURS.values()))
        if style == "balls":
            for step in range(6):
                share = step / 5
                lit = tuple(round(own * (0.55 + 0.45 * share) + 60 * share**3) for own in colour)
                r, shift = radius * (1 - 0.85 * share), radius * 0.3 * share
                box = (x - r - shift, y - r - shift, x + r - shift, y + r - shift)
                draw.ellipse(box, fill=tuple(min(255, own) for own in lit))
        else:
            kind = "circle" if style == "discs" else chance.choice(("circle", "square", "triangle", "star"))
            shape(draw, kind, (x, y), radius, colour)
    return image


def distance(chance: random.Random, label: int) -> Image.Image:
    """A road in perspective with the nearest car near, at a medium distance or far away (0, 1, 2), or with none (3)."""
    image = Image.new("RGB", (CANVAS, CANVAS), (150, 190, 230))
    draw = ImageDraw.Draw(image)
    horizon, middle = CANVAS * chance.uniform(0.36, 0.46), CANVAS * chance.uniform(0.42, 0.58)
    ground = chance.choice(((95, 130, 70), (150, 135, 95), (120, 140, 110)))
    draw.rectangle((0, horizon, CANVAS, CANVAS), fill=ground)
    road = [(middle - 6, horizon), (middle + 6, horizon), (CANVAS * 1.1, CANVAS), (-CANVAS * 0.1, CANVAS)]
    draw.polygon(road, fill=(85, 85, 90))
    for metres in (60, 30, 18, 12, 8.5, 6.5):
        y = horizon + 900 / metres
        draw.line((middle, y, middle + (y - horizon) * 0.02, y + 160 / metres), fill=(235, 235, 220), width=4)
    # A camera 1.5 m above the road; a car is 1.8 m wide.
    bounds = ((5.5, 9.0), (13.0, 22.0), (38.0, 70.0))
    nearest = [chance.uniform(*bounds[label])] if label < 3 else []
    others = [chance.uniform(nearest[0] * 1.3, 90.0) for _ in range(chance.randint(0, 2))] if label < 2 else []
    for metres in sorted([*nearest, *others], reverse=True):
        _car(draw, middle + chance.choice((-1, 1)) * 1050 / metres, horizon + 900 / metres, 1080 / metres, chance)
    return image


def _car(draw: ImageDraw.ImageDraw, x: float, y: float, width: float, chance: random.Random) -> None:
    """A car from behind, its wheels at height `y`."""
    colour = chance.choice(list(COLOURS.values()))
    draw.rectangle((x - width / 2, y - width * 0.45, x + width / 2, y - width * 0.08), fill=colour)
    top = [(-0.42, -0.45), (-0.3, -0.78), (0.3, -0.78), (0.42, -0.45)]
    draw.polygon([(x + a * width, y + b * width) for a, b in top], fill=colour)
    glass = [(-0.34, -0.48), (-0.25, -0.72), (0.25, -0.72), (0.34, -0.48)]
    draw.polygon([(x + a * width, y + b * width) for a, b in glass], fill=(190, 215, 230))
    for side in (-1, 1):
        wheel = x + side * 0.36 * width
        draw.rectangle((wheel - 0.1 * width, y - 0.14 * width, wheel + 0.1 * width, y), fill=(25, 25, 25))
        lamp = x + side * 0.42 * width
        draw.rectangle((lamp - 0.06 * width, y - 0.38 * width, lamp + 0.06 * width, y - 0.26 * width), fill=(200, 0, 0))


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which is in every one of its builds with FreeType."""
    return ImageFont.load_default(size)


def written(chance: random.Random, text: str, *, largest: int = 84) -> Image.Image:
    """A text in one or more lines, as large as fits, dark on light or light on dark, a little turned."""
    ground = chance.choice(GROUNDS)
    is_dark = sum(ground) < 300
    ink = (240, 240, 240) if is_dark else chance.choice(((20, 20, 20), (120, 20, 20), (20, 40, 120)))
    image = Image.new("RGB", (CANVAS, CANVAS), ground)
    draw = ImageDraw.Draw(image)
    size = chance.randint(largest * 2 // 3, largest)
    while size > 12 and draw.multiline_textbbox((0, 0), text, font=_font(size))[2] > CANVAS - 24:
        size -= 2
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=_font(size), align="center")
    x = chance.uniform(12, max(13, CANVAS - 12 - (right - left))) - left
    y = chance.uniform(12, max(13, CANVAS - 12 - (bottom - top))) - top
    draw.multiline_text((x, y), text, font=_font(size), fill=ink, align="center")
    return image.rotate(chance.uniform(-6, 6), Image.Resampling.BILINEAR, fillcolor=ground)


def number_plate(chance: random.Random, number: str) -> Image.Image:
    """A house number on a plate on a wall."""
    wall = Image.new("RGB", (CANVAS, CANVAS), chance.choice(((150, 75, 55), (200, 195, 185), (90, 105, 95))))
    draw = ImageDraw.Draw(wall)
    for row in range(0, CANVAS, 32):
        draw.line((0, row, CANVAS, row), fill=(120, 110, 100), width=2)
    plate = chance.choice(((245, 245, 240), (30, 60, 140), (25, 90, 50)))
    ink = (20, 20, 20) if plate[0] > 200 else (245, 245, 245)
    size = chance.randint(56, 88)
    left, top, right, bottom = draw.textbbox((0, 0), number, font=_font(size))
    width, height = right - left + 36, bottom - top + 36
    x, y = chance.uniform(4, CANVAS - width - 4), chance.uniform(4, CANVAS - height - 4)
    draw.rounded_rectangle((x, y, x + width, y + height), 12, fill=plate, outline=ink, width=3)
    draw.text((x + 18 - left, y + 18 - top), number, font=_font(size), fill=ink)
    return wall


# The parts of a drawn bird, one of which tells a species: (name in words, which part, its colour).
SPECIES: Sequence[tuple[str, str, Colour]] = (
    ("a red crest", "crest", (205, 30, 30)),
    ("a yellow crest", "crest", (245, 205, 30)),
    ("a blue wing", "wing", (33, 85, 205)),
    ("a white wing", "wing", (250, 250, 250)),
    ("a red tail", "tail", (205, 30, 30)),
    ("a long black tail", "long tail", (25, 25, 25)),
    ("a white ring around its neck", "ring", (250, 250, 250)),
    ("a black mask over its eyes", "mask", (25, 25, 25)),
)


def species(chance: random.Random, label: int) -> Image.Image:
    """A brown bird that differs from its kin in one part."""
    _, part, colour = SPECIES[label]
    image = Image.new("RGB", (CANVAS, CANVAS), chance.choice(((190, 220, 240), (205, 225, 190), (235, 225, 205))))
    draw = ImageDraw.Draw(image)
    brown = tuple(own + chance.randint(-12, 12) for own in (135, 100, 65))
    dark = tuple(own - 35 for own in brown)
    size, x, y = chance.uniform(0.8, 1.1), CANVAS / 2 + chance.uniform(-20, 20), CANVAS / 2 + chance.uniform(-15, 25)

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return x + size * left, y + size * top, x + size * right, y + size * bottom

    def points(*pairs: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x + size * a, y + size * b) for a, b in pairs]

    length = 130 if part == "long tail" else 85
    draw.polygon(
        points((-55, 0), (-55 - length, 20), (-50 - length, 45), (-45, 25)), fill=colour if "tail" in part else dark
    )
    if part == "crest":
        draw.polygon(points((45, -75), (15, -125), (60, -100), (65, -130), (80, -75)), fill=colour)
    draw.ellipse(box(-70, -40, 70, 55), fill=brown)
    draw.ellipse(box(30, -90, 95, -25), fill=brown)
    if part == "ring":
        draw.polygon(points((28, -42), (78, -22), (72, -8), (22, -28)), fill=colour)
    draw.ellipse(box(-50, -25, 35, 30), fill=colour if part == "wing" else dark)
    if part == "mask":
        draw.rectangle(box(45, -74, 96, -52), fill=colour)
    draw.polygon(points((92, -68), (128, -56), (92, -48)), fill=(225, 150, 40))
    draw.ellipse(box(66, -72, 78, -60), fill=(250, 250, 250) if part == "mask" else (15, 15, 15))
    for leg in (-5, 20):
        draw.line(points((leg, 50), (leg + 4, 95)), fill=(90, 60, 30), width=5)
    return image if chance.random() < 0.5 else image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def position(chance: random.Random, label: int) -> Image.Image:
    """A red circle left of, right of, above or below (0 to 3) a blue square."""
    image = ground(chance)
    draw = ImageDraw.Draw(image)
    radius, gap = chance.uniform(34, 48), chance.uniform(110, 150)
    along, across = CANVAS / 2 + chance.uniform(-30, 30), CANVAS / 2 + chance.uniform(-70, 70)
    sign = -1 if label in (0, 2) else 1
    first, second = along + sign * gap / 2, along - sign * gap / 2
    places = [(first, across), (second, across)] if label < 2 else [(across, first), (across, second)]
    shape(draw, "circle", places[0], radius, COLOURS["red"])
    shape(draw, "square", places[1], radius, COLOURS["blue"])
    return image


def negation(chance: random.Random, label: int) -> Image.Image:
    """Three or four shapes, a circle among them (0) or not (1)."""
    image = ground(chance)
    draw = ImageDraw.Draw(image)
    count = chance.randint(3, 4)
    others = [chance.choice(("square", "triangle", "star")) for _ in range(count)]
    kinds = ["circle", *others[1:]] if label == 0 else others
    radius = chance.uniform(30, 42)
    for kind, point in zip(kinds, apart(chance, count, radius), strict=True):
        shape(draw, kind, point, radius, chance.choice(list(COLOURS.values())))
    return image


def binding(chance: random.Random, label: int) -> Image.Image:
    """A red square and a blue circle (0), or a blue square and a red circle (1)."""
    image = ground(chance)
    draw = ImageDraw.Draw(image)
    radius = chance.uniform(36, 52)
    names = ("red", "blue") if label == 0 else ("blue", "red")
    for kind, name, point in zip(("square", "circle"), names, apart(chance, 2, radius), strict=True):
        shape(draw, kind, point, radius, COLOURS[name])
    return image


Draw = Callable[[random.Random, int], Image.Image]
