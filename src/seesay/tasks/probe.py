"""The linear probe in one call: the public `seesay.probe`."""

from collections.abc import Sequence
from pathlib import Path

from seesay.base.journal import progress
from seesay.base.names import no_empty_names, whole_numbers
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache
from seesay.model.hub import on_device
from seesay.tasks.few_shot import NO_CACHE, Penalty, check_protocol, check_sets, open_labelled, probe_sets
from seesay.tasks.probe_result import ProbeResult


@no_empty_names
def probe(
    train: str | Path,
    test: str | Path,
    *,
    model: str | Path | Model = "box",
    shots: Sequence[int] = (),
    seeds: int = 3,
    penalty: Penalty = "sweep",
    metric: str = "accuracy",
    from_words: bool = False,
    device: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
    weights_dtype: str | None = None,
    batch_size: int | None = None,
    cache: bool = True,
) -> ProbeResult:
    """Fit a linear classifier on a model's features of `train`, and measure it on `test` beside zero-shot.

    Both are labelled sets (`data.evalsets.open_evalset`), and the classes of `test` are among those of `train`. Where
    `train` names a set with parts, such as train/ and test/, the former is learned from. `model` is a name or folder,
    loaded to `device` or the best there is, or a `Model`, which stays on its own. `shots`: also with this many images
    per class, each number with `seeds` random choices of images. `penalty` is on the squared weights (scikit-learn's
    1/C), "sweep" searches for it; `metric` is one of `few_shot.METRICS`. With `from_words` probes start from the
    zero-shot classifier and are pulled towards it, penalties are chosen on the shots alone (`LinearProbe`), and `shots`
    may hold 0, the zero-shot classifier itself. `precision`, `engine` and `batch_size` are as in `Model.with_precision`
    and so on, `weights_dtype` as in `load`. Features are cached under `SEESAY_CACHE`, unless `cache` is False.

    `UsageError` for arguments that do not fit, before the model is loaded; `RefusedInput` where no image of a set can
    be read, or for a damaged model.
    """
    counts = whole_numbers(shots, "shots", least=0 if from_words else 1)
    check_protocol(counts, seeds, penalty, metric, from_words=from_words)
    train_set, test_set = open_labelled(train, is_learned=True), open_labelled(test)
    check_sets(train_set, test_set, counts, from_words=from_words)
    how = {"precision": precision, "engine": engine, "weights_dtype": weights_dtype, "batch_size": batch_size}
    loaded = on_device(model, device, **how)
    with progress(len(train_set) + len(test_set), "images") as advance:
        return probe_sets(
            loaded,
            train_set,
            test_set,
            shots=counts,
            seeds=seeds,
            penalty=penalty,
            metric=metric,
            from_words=from_words,
            cache=EmbeddingCache.find() if cache else NO_CACHE,
            progress=advance,
        )
