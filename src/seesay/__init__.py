"""CLIP made whole: pairs to model to answers. The names below are loaded when they are first used."""

# Nothing else is imported here: `seesay` starts with this file, and Ctrl-C cannot be answered before it is done.
from os import environ as _environ

TYPE_CHECKING = False  # as typing has it; type checkers take it for True

if TYPE_CHECKING:
    from seesay.base.errors import BrokenSample as BrokenSample
    from seesay.base.errors import Interrupted as Interrupted
    from seesay.base.errors import RefusedInput as RefusedInput
    from seesay.base.errors import SeesayError as SeesayError
    from seesay.base.errors import Stopped as Stopped
    from seesay.base.errors import StorageError as StorageError
    from seesay.base.errors import TooManySkipped as TooManySkipped
    from seesay.base.errors import UsageError as UsageError
    from seesay.base.version import __version__ as __version__
    from seesay.curation.curate import Curation as Curation
    from seesay.curation.curate import curate as curate
    from seesay.curation.queries import Queries as Queries
    from seesay.curation.queries import queries as queries
    from seesay.evaluation.evaluate import Evaluation as Evaluation
    from seesay.evaluation.evaluate import evaluate as evaluate
    from seesay.evaluation.overlap import overlap as overlap
    from seesay.evaluation.overlap_result import Overlap as Overlap
    from seesay.experiments.compare import compare as compare
    from seesay.experiments.compare_runs import RunsComparison as RunsComparison
    from seesay.experiments.compare_runs import compare_runs as compare_runs
    from seesay.experiments.comparison import Comparison as Comparison
    from seesay.finetuning.finetune import finetune as finetune
    from seesay.finetuning.result import FineTuning as FineTuning
    from seesay.formulas.contrastive import contrastive_loss as contrastive_loss
    from seesay.index.photo_index import Hit as Hit
    from seesay.index.photo_index import PhotoIndex as PhotoIndex
    from seesay.index.photo_index import open_index as open_index
    from seesay.index.refresh import Refreshed as Refreshed
    from seesay.index.search import Found as Found
    from seesay.index.search import search as search
    from seesay.model.build import build as build
    from seesay.model.bundle import Model as Model
    from seesay.model.cache import zero_shot_classifier as zero_shot_classifier
    from seesay.model.convert import convert as convert
    from seesay.model.explain import Explanation as Explanation
    from seesay.model.hub import load as load
    from seesay.model.open_clip_like import open_clip_like as open_clip_like
    from seesay.model.zero_shot import ZeroShotClassifier as ZeroShotClassifier
    from seesay.preflight.doctor import doctor as doctor
    from seesay.preflight.engine_report import EnginesReport as EnginesReport
    from seesay.preflight.engine_report import measure_engines as measure_engines
    from seesay.preflight.report import DoctorReport as DoctorReport
    from seesay.service.serve import serve as serve
    from seesay.tasks.audit import audit as audit
    from seesay.tasks.audit_result import Audit as Audit
    from seesay.tasks.classify_folder import classify_folder as classify_folder
    from seesay.tasks.embed import EmbeddingsFile as EmbeddingsFile
    from seesay.tasks.embed import embed as embed
    from seesay.tasks.explain import explain as explain
    from seesay.tasks.export import Export as Export
    from seesay.tasks.export import export as export
    from seesay.tasks.linear_probe import LinearProbe as LinearProbe
    from seesay.tasks.probe import probe as probe
    from seesay.tasks.probe_result import ProbeResult as ProbeResult
    from seesay.tasks.retrieve import recall_at_k as recall_at_k
    from seesay.training.run_folder import Run as Run
    from seesay.training.run_folder import open_run as open_run
    from seesay.training.settings import TrainSettings as TrainSettings
    from seesay.training.train import train as train

# Threads that wait for one another would spin, and take the time of whatever else the machine does. They sleep after
# some microseconds, so that short waits cost no sleep (benchmarks/2026-11-29-engines), unless the user has said how
# they wait; libgomp reads it when torch is imported, so it is here and in no verb.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"} & _environ.keys():
    _environ["GOMP_SPINCOUNT"] = "1000"

# Every public name and the module it is in; the imports above say the same to a type checker.
_MODULES = {
    "Audit": "tasks.audit_result",
    "BrokenSample": "base.errors",
    "Comparison": "experiments.comparison",
    "Curation": "curation.curate",
    "DoctorReport": "preflight.report",
    "EmbeddingsFile": "tasks.embed",
    "EnginesReport": "preflight.engine_report",
    "Evaluation": "evaluation.evaluate",
    "Explanation": "model.explain",
    "Export": "tasks.export",
    "FineTuning": "finetuning.result",
    "Found": "index.search",
    "Hit": "index.photo_index",
    "Interrupted": "base.errors",
    "LinearProbe": "tasks.linear_probe",
    "Model": "model.bundle",
    "Overlap": "evaluation.overlap_result",
    "PhotoIndex": "index.photo_index",
    "ProbeResult": "tasks.probe_result",
    "Queries": "curation.queries",
    "Refreshed": "index.refresh",
    "RefusedInput": "base.errors",
    "Run": "training.run_folder",
    "RunsComparison": "experiments.compare_runs",
    "SeesayError": "base.errors",
    "Stopped": "base.errors",
    "StorageError": "base.errors",
    "TooManySkipped": "base.errors",
    "TrainSettings": "training.settings",
    "UsageError": "base.errors",
    "ZeroShotClassifier": "model.zero_shot",
    "audit": "tasks.audit",
    "build": "model.build",
    "classify_folder": "tasks.classify_folder",
    "compare": "experiments.compare",
    "compare_runs": "experiments.compare_runs",
    "contrastive_loss": "formulas.contrastive",
    "convert": "model.convert",
    "curate": "curation.curate",
    "doctor": "preflight.doctor",
    "embed": "tasks.embed",
    "evaluate": "evaluation.evaluate",
    "explain": "tasks.explain",
    "export": "tasks.export",
    "finetune": "finetuning.finetune",
    "load": "model.hub",
    "measure_engines": "preflight.engine_report",
    "open_clip_like": "model.open_clip_like",
    "open_index": "index.photo_index",
    "open_run": "training.run_folder",
    "overlap": "evaluation.overlap",
    "probe": "tasks.probe",
    "queries": "curation.queries",
    "recall_at_k": "tasks.retrieve",
    "search": "index.search",
    "serve": "service.serve",
    "train": "training.train",
    "zero_shot_classifier": "model.cache",
}
__all__ = list(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    from importlib import import_module

    module = "base.version" if name == "__version__" else _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'seesay' has no attribute {name!r}")
    return getattr(import_module(f"seesay.{module}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
