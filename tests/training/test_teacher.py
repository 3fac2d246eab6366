"""A run that learns from a teacher as well: its rows are made once, kept, refused where they are another's."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import seesay
from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.journal import read_events
from seesay.base.records import Batch
from seesay.base.settings import read_settings
from seesay.data.loader import Subset, caption_id, image_id
from seesay.data.pairs import open_pairs
from seesay.data.tokenizer import CaptionTokenizer
from seesay.formulas.contrastive import affinity_loss
from seesay.model import teacher as teacher_file
from seesay.model.cache import weights_sha256
from seesay.model.teacher import TeacherRows, teacher_sha256
from seesay.training import loop, start
from seesay.training.objectives import objective_of, taught
from seesay.training.settings import TrainSettings

WORDS = ["a red square", "a green square", "something blue", "something yellow"] * 3
QUICK = {"batch_size": 8, "workers": 0, "device": "cpu", "towers": {"precision": "float32"}, "model": "conv-tiny"}


@pytest.fixture
def teacher(tmp_path, one_thread):
    """A model in a folder, and the folder."""
    tokenizer = CaptionTokenizer.train(WORDS, vocab_size=550, context=12)
    model = seesay.build("conv-tiny", tokenizer=tokenizer, seed=3)
    model.save(tmp_path / "teacher")
    return model, tmp_path / "teacher"


def rows(count: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64), dim=1)


def test_affinity_is_the_mean_of_both_directions_kl_and_its_parts_add_up():
    image_ND, text_ND, scale = rows(5, 4, 0), rows(5, 4, 1), torch.tensor(3.0, dtype=torch.float64)
    teacher_NN = 7 * rows(5, 6, 2) @ rows(5, 6, 3).T
    found = affinity_loss(image_ND, text_ND, scale, teacher_NN=teacher_NN, temperature=2.0)
    student_NN = scale * image_ND @ text_ND.T
    expected = 0.0
    for student, wanted in ((student_NN, teacher_NN), (student_NN.T, teacher_NN.T)):
        for s, t in zip(student / 2, wanted / 2, strict=True):
            p, q = t.exp() / t.exp().sum(), s.exp() / s.exp().sum()
            expected += 4 * float((p * (p / q).log()).sum()) / 10
    assert float(found) == pytest.approx(expected, rel=1e-12)
    parts = [
        affinity_loss(image_ND, text_ND, scale, teacher_NN=teacher_NN, temperature=2.0, part=part)
        for part in (slice(0, 2), slice(2, 5), slice(5, 5))
    ]
    assert float(sum(parts)) == pytest.approx(expected, rel=1e-12) and float(parts[2]) == 0
    same = affinity_loss(image_ND, text_ND, scale, teacher_NN=student_NN)
    assert float(same) == pytest.approx(0, abs=1e-12)


def test_rows_are_those_of_the_teacher_for_the_caption_that_was_drawn(teacher, coloured_pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_file, "PAIRS_PER_FILE", 5)
    model, _ = teacher
    pairs = open_pairs([coloured_pairs(12)])
    some = Subset(pairs, [1, 6, 11])
    kept = TeacherRows(folder=tmp_path / "rows", pairs=some, sha256=teacher_sha256(model))
    assert kept.missing() == [0, 1, 2]
    # What a process left that was killed while it wrote; no process has that number.
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / f".000001.safetensors.tmp-{2**22 + 1}-01234567").touch()
    for number in kept.missing():
        parts = [kept.make(model, number, part=(k, 2)) for k in range(2)]
        kept.write(number, *(torch.cat(side) for side in zip(*parts, strict=True)), scale=model.logit_scale)
    assert kept.missing() == []
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == [f"00000{n}.safetensors" for n in range(3)]
    assert load_file(tmp_path / "rows" / "000002.safetensors")["image_PE"].dtype == torch.float16
    captions = [some.captions(index)[-1] for index in range(3)]
    ids = torch.tensor([caption_id(text) for text in captions])
    batch = Batch(
        pixels_B3SS=torch.empty(0), tokens=model.tokenizer.tokens(captions), sample_B=torch.arange(3),
        image_id_B=torch.tensor([image_id(some[index].image) for index in range(3)]), caption_id_B=ids,
    )  # fmt: skip
    found = kept.of(batch, torch.device("cpu"))
    expected = model.encode_images([some[index].image for index in range(3)]), model.encode_texts(captions)
    assert torch.allclose(found.image_BD, expected[0], atol=1e-3)
    assert torch.allclose(found.text_BD, expected[1], atol=1e-3)
    assert float(found.scale) == pytest.approx(model.logit_scale)


def test_what_cannot_be_tidied_up_stops_no_teacher(teacher, coloured_pairs, tmp_path, monkeypatch):
    """A leftover may be another user's; the rows are written."""

    def refuse(*_, **__):
        raise StorageError("the operation is not permitted")

    monkeypatch.setattr("seesay.model.teacher.remove_stale", refuse)
    model, _ = teacher
    kept = TeacherRows(folder=tmp_path / "rows", pairs=open_pairs([coloured_pairs(4)]), sha256=teacher_sha256(model))
    kept.write(0, *kept.make(model, 0), scale=model.logit_scale)
    assert kept.missing() == []


@pytest.mark.journey
def test_rows_are_made_once_and_an_epoch_more_costs_no_teacher(teacher, coloured_pairs, tmp_path, monkeypatch):
    _, folder = teacher
    pairs, out = coloured_pairs(48), tmp_path / "run"
    seesay.train(pairs, out=out, teacher=str(folder), epochs=1, **QUICK)
    first = {path.name: path.stat().st_mtime_ns for path in (out / "teacher").iterdir()}
    assert list(first) == ["000000.safetensors"]
    monkeypatch.setattr(TeacherRows, "make", None)
    seesay.train(pairs, out=out, teacher=str(folder), epochs=2, **QUICK)
    assert {path.name: path.stat().st_mtime_ns for path in (out / "teacher").iterdir()} == first
    events = [event for event in read_events(out / "events.jsonl") if event.get("event") == "teacher"]
    assert [event["files_made"] for event in events] == [1, 0]
    plan = json.loads((out / "facts.json").read_text())["plan"]
    assert any("the answers of the teacher" in line and "weigh 1" in line for line in plan)
    # Another seed holds out other pairs, and learns from the same rows.
    seesay.train(
        pairs, out=tmp_path / "other", teacher=str(folder), steps=1, seed=5,
        distillation={"rows": str(out / "teacher")}, **QUICK,
    )  # fmt: skip
    assert not (tmp_path / "other" / "teacher").exists()


@pytest.mark.journey
def test_a_run_with_a_teacher_goes_on_to_the_same_bits_also_in_micro_batches(
    teacher, coloured_pairs, tmp_path, monkeypatch
):
    _, folder = teacher
    words = {**QUICK, "model": "vit-small", "teacher": str(folder), "steps": 4, "micro_batch": 3}
    pairs = coloured_pairs(40)
    seesay.train(pairs, out=tmp_path / "unbroken", **words)
    honest = loop.train_step

    def stopping(state, batch):
        honest(state, batch)
        if state.position.step == 2:
            loop.save(state)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", stopping)
        with pytest.raises(seesay.SeesayError):
            seesay.train(pairs, out=tmp_path / "broken", **words)
    seesay.train(pairs, out=tmp_path / "broken", **words)
    seesay.train(pairs, out=tmp_path / "whole", **{**words, "micro_batch": None})
    ends = [seesay.load(tmp_path / name / "model").clip.state_dict() for name in ("unbroken", "broken", "whole")]
    assert weights_sha256(ends[0]) == weights_sha256(ends[1])
    for name, tensor in ends[0].items():
        assert torch.allclose(tensor, ends[2][name], atol=1e-4), name


@pytest.mark.journey
def test_what_is_learned_comes_nearer_to_the_teacher(teacher, coloured_pairs, tmp_path):
    model, folder = teacher
    pairs = coloured_pairs(48)
    source = open_pairs([pairs])
    images = [source[index].image for index in range(12)]
    texts = [source.captions(index)[0] for index in range(12)]
    wanted_NN = model.logit_scale * model.encode_images(images) @ model.encode_texts(texts).T
    distances = []
    for weight in (0.0, 100.0):
        named = {"optimizer": {"learning_rate": 3e-3}, "distillation": {"weight": weight}}
        new = seesay.train(pairs, out=tmp_path / f"run{weight}", teacher=str(folder), steps=40, **named, **QUICK)
        rows_ND = new.encode_images(images), new.encode_texts(texts)
        distances.append(float(affinity_loss(*rows_ND, torch.tensor(new.logit_scale), teacher_NN=wanted_NN)))
    assert distances[1] < distances[0] / 2


def test_another_teacher_other_pairs_and_damage_are_one_line_each(teacher, coloured_pairs, tmp_path):
    model, _ = teacher
    pairs = open_pairs([coloured_pairs(8)])
    kept = TeacherRows(folder=tmp_path / "rows", pairs=pairs, sha256=teacher_sha256(model))
    kept.write(0, *kept.make(model, 0), scale=model.logit_scale)
    with pytest.raises(RefusedInput, match=r"holds rows of another teacher .* name another folder"):
        TeacherRows(folder=tmp_path / "rows", pairs=pairs, sha256="0" * 64).missing()
    with pytest.raises(RefusedInput, match="holds rows of another pairs"):
        TeacherRows(
            folder=tmp_path / "rows", pairs=Subset(Subset(pairs, range(7)), range(7)), sha256=kept.sha256
        ).missing()
    path = tmp_path / "rows" / "000000.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RefusedInput, match=r"is damaged .*; remove it, and its rows are made again"):
        kept.missing()


def bitmaps(folder, paint, shift: int):
    """Pairs whose images are files of one size each, whatever they show."""
    for number in range(24):
        colour = ("red", "green", "blue", "yellow")[(number + shift) % 4]
        paint(folder / f"{number:02}.bmp", colour)
        (folder / f"{number:02}.txt").write_text(WORDS[number % 4])
    return folder


@pytest.mark.journey
def test_rows_of_images_that_changed_under_their_name_and_size_are_refused(teacher, paint, tmp_path):
    pairs, named = bitmaps(tmp_path / "pairs", paint, 0), {"distillation": {"rows": str(tmp_path / "rows")}}
    seesay.train(pairs, out=tmp_path / "one", teacher=str(teacher[1]), steps=1, **named, **QUICK)
    bitmaps(pairs, paint, 1)
    with pytest.raises(
        RefusedInput, match=r"000000\.safetensors has no row of '\d\d' as it is now, .*; remove it, and"
    ):
        seesay.train(pairs, out=tmp_path / "two", teacher=str(teacher[1]), steps=1, **named, **QUICK)
    (tmp_path / "rows" / "000000.safetensors").unlink()
    assert seesay.train(pairs, out=tmp_path / "two", teacher=str(teacher[1]), steps=1, **named, **QUICK)


@pytest.mark.journey
def test_an_image_that_could_not_be_read_has_no_row_and_is_counted(teacher, paint, tmp_path):
    pairs, named = bitmaps(tmp_path / "pairs", paint, 0), {"distillation": {"rows": str(tmp_path / "rows")}}
    whole = (pairs / "03.bmp").read_bytes()
    (pairs / "03.bmp").write_bytes(b"x" * len(whole))
    seesay.train(pairs, out=tmp_path / "one", teacher=str(teacher[1]), epochs=2, **named, **QUICK)
    (event,) = [event for event in read_events(tmp_path / "one" / "events.jsonl") if event.get("event") == "teacher"]
    assert event["images_not_read"] == 1
    (pairs / "03.bmp").write_bytes(whole)
    with pytest.raises(RefusedInput, match="or of one that could not be read; remove it"):
        seesay.train(pairs, out=tmp_path / "two", teacher=str(teacher[1]), epochs=2, **named, **QUICK)


def test_a_teacher_that_changes_while_a_run_is_prepared_is_refused(teacher, coloured_pairs, tmp_path, monkeypatch):
    model, folder = teacher
    other = seesay.build("conv-tiny", tokenizer=model.tokenizer, seed=4)
    honest = start.teacher_sha256

    def then_changed(loaded):
        found = honest(loaded)
        other.save(folder)
        return found

    monkeypatch.setattr(start, "teacher_sha256", then_changed)
    with pytest.raises(RefusedInput, match="has changed since this began; name a copy that nobody writes"):
        seesay.train(coloured_pairs(24), out=tmp_path / "run", teacher=str(folder), steps=1, **QUICK)


@pytest.mark.journey
def test_wrong_teachers_are_one_line_each(teacher, predictor, coloured_pairs, tmp_path):
    _, folder = teacher
    pairs = coloured_pairs(24)
    predictor("caption").save(tmp_path / "captions")
    with pytest.raises(UsageError, match="predicts captions and has no rows of texts"):
        seesay.train(pairs, out=tmp_path / "a", teacher=str(tmp_path / "captions"), steps=1, **QUICK)
    with pytest.raises(UsageError, match=r"distillation.weight is 2.0, but there is no teacher; name one"):
        seesay.train(pairs, out=tmp_path / "a", distillation={"weight": 2.0}, steps=1, **QUICK)
    with pytest.raises(UsageError, match=r"is another one .* than distillation.sha256 names"):
        named = {"distillation": {"sha256": "0" * 64}}
        seesay.train(pairs, out=tmp_path / "a", teacher=str(folder), steps=1, **named, **QUICK)
    for name, words in (("caption", "predicts captions"), ("convirt", "learns parts of captions")):
        with pytest.raises(UsageError, match=f"objective {name} {words}, of which teacher x has no rows"):
            taught(objective_of(name), read_settings(TrainSettings, file=None, overrides=["teacher=x"]))
    seesay.train(pairs, out=tmp_path / "run", teacher=str(folder), steps=1, **QUICK)
    other = seesay.build("conv-tiny", tokenizer=seesay.load(folder).tokenizer, seed=4)
    other.save(tmp_path / "other")
    with pytest.raises(UsageError, match=r"other settings \(distillation\.sha256: "):
        seesay.train(pairs, out=tmp_path / "run", teacher=str(tmp_path / "other"), steps=2, **QUICK)
    assert not (tmp_path / "a").exists()
