r"""The linear probe beside scikit-learn's LogisticRegression: the same objective, float32, one thread, in one process.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
        python compare.py DATA --out result.json --sweep real middling

DATA is the folder `train-tinyimagenet` (.tar of pictures whose names begin with their class). C = 0.316 and at most
1,000 iterations on both sides, all other settings as they come. Sides take turns, and who begins alternates.
The objective is worked out in float64 from the weights that each side gives.

--sweep adds the whole sweep for the problems that are named: ours as it is, theirs as fits for a few penalties on the
same part of the data. The seconds of their other fits are put between those by straight lines over the logarithm of
the penalty. The objectives of the last fit, on all the data, stand beside each other too.
"""

import argparse
import json
import os
import statistics
import tarfile
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

import seesay
from seesay.base.runtime import Runtime, machine_facts
from seesay.formulas.logistic import objective
from seesay.model.encode import encode_feature_set
from seesay.tasks.penalty_sweep import held_out

PENALTY = 1 / 0.316
ROUNDS = 3
SWEPT_BY_THEM = (1e6, 1e3, 1.0, 1e-2, 1e-6)
# Rows, and how far apart the centres of the classes lie.
MADE = {"separable": (50_000, 2.0), "middling": (50_000, 0.5), "hard": (50_000, 0.15), "small": (10_000, 0.3)}


def made(rows: int, apart: float, *, width: int = 512, classes: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    """A mixture of Gaussians with a falling spectrum, turned at random and moved from the origin."""
    generator = torch.Generator().manual_seed(0)
    spectrum_W = (1 + torch.arange(width)).float() ** -0.8
    turn_WW, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
    centre_KW = torch.randn(classes, width, generator=generator) * spectrum_W * apart
    mean_W = torch.randn(width, generator=generator) * 0.5
    label_N = torch.randint(0, classes, (rows,), generator=generator)
    noise_NW = torch.randn(rows, width, generator=generator) * spectrum_W * 1.6
    return (centre_KW[label_N] + noise_NW) @ turn_WW + mean_W, label_N


def real(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of the model in the box for the pictures in the .tar of a folder."""
    pictures, classes = [], []
    for place in sorted(folder.glob("*.tar")):
        with tarfile.open(place) as tar:
            for member in tar:
                if member.name.endswith(".webp"):
                    pictures.append(tar.extractfile(member).read())
                    classes.append(member.name.split("_")[0])
    features_NW, kept, _ = encode_feature_set(seesay.load("box"), pictures.__getitem__, len(pictures))
    return features_NW, torch.from_numpy(np.unique(np.array(classes)[kept], return_inverse=True)[1])


def timed(work):
    """(result, CPU seconds, wall seconds)."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def ours(x_NW, label_N, penalty):
    return seesay.LinearProbe(penalty=penalty).fit(x_NW, label_N)


def theirs(x_NW, label_N, penalty):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=1 / penalty, max_iter=1000).fit(x_NW.numpy(), label_N.numpy())


def facts_of(fitted, x_NW, label_N, penalty: float = PENALTY) -> dict:
    weights_KW, intercept_K = torch.from_numpy(fitted.coef_), torch.from_numpy(fitted.intercept_)
    value = objective(x_NW, label_N, weights_KW, intercept_K, penalty=penalty)
    return {"iterations": int(np.max(fitted.n_iter_)), "objective": value}


def one_fit(name: str, x_NW: torch.Tensor, label_N: torch.Tensor, rounds: int) -> dict:
    taken = {"ours": [], "theirs": []}
    facts = {}
    for index in range(rounds):
        sides = [("ours", ours), ("theirs", theirs)]
        for side, work in sides if index % 2 else reversed(sides):
            fitted, cpu, wall = timed(lambda work=work: work(x_NW, label_N, PENALTY))
            taken[side].append((cpu, wall))
            facts[side] = facts_of(fitted, x_NW, label_N)
    ratios = {
        what: [theirs[place] / ours[place] for ours, theirs in zip(taken["ours"], taken["theirs"], strict=True)]
        for place, what in enumerate(("cpu", "wall"))
    }
    result = {"rows": len(x_NW), "width": x_NW.shape[1], "classes": int(label_N.max()) + 1, **facts}
    result["seconds_cpu_wall"] = taken
    result["ratio"] = {what: {"median": statistics.median(of), "all": of} for what, of in ratios.items()}
    result["no_higher"] = facts["ours"]["objective"] <= facts["theirs"]["objective"]
    print(
        f"{name:10} {len(x_NW)} x {x_NW.shape[1]}, {result['classes']} classes: "
        f"theirs {statistics.median(cpu for cpu, _ in taken['theirs']):.2f} CPU s, "
        f"{facts['theirs']['iterations']} iterations, {facts['theirs']['objective']:.8f}; "
        f"ours {statistics.median(cpu for cpu, _ in taken['ours']):.2f}, "
        f"{facts['ours']['iterations']}, {facts['ours']['objective']:.8f}; "
        + "; ".join(
            f"x{statistics.median(of):.1f} {what} [{min(of):.1f}, {max(of):.1f}]" for what, of in ratios.items()
        )
        + f"; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return result


def sweep_by_them(part_NW, part_N, visited: list[float]) -> tuple[dict, dict]:
    """Fits for a few penalties, and what all of `visited` would take: (seconds CPU and wall in all, each fit)."""
    fits = {}
    for penalty in SWEPT_BY_THEM:
        fitted, *seconds = timed(lambda penalty=penalty: theirs(part_NW, part_N, penalty))
        fits[penalty] = (*seconds, int(np.max(fitted.n_iter_)))
        print(f"           theirs at {penalty:g}: {seconds[0]:.1f} CPU s, {fits[penalty][2]} iterations", flush=True)
    known = sorted(fits)
    total = {
        what: float(np.interp(np.log(visited), np.log(known), [fits[penalty][place] for penalty in known]).sum())
        for place, what in enumerate(("cpu", "wall"))
    }
    return total, {f"{penalty:g}": fits[penalty] for penalty in known}


def whole_sweep(name: str, x_NW: torch.Tensor, label_N: torch.Tensor, rounds: int) -> dict:
    learned_L, _ = held_out(label_N)
    part_NW, part_N = x_NW[learned_L], label_N[learned_L]
    probe = ours(x_NW, label_N, "sweep")
    visited = [*probe.validation_scores_, probe.penalty_]
    told = {"penalty": float(probe.penalty_), "fits": len(visited), "scores": probe.validation_scores_}
    told |= {"ours": [], "theirs_extrapolated": [], "theirs_in_part": [], "ratio": {"cpu": [], "wall": []}}
    for index in range(rounds):
        sides = [lambda: timed(lambda: ours(x_NW, label_N, "sweep")), lambda: sweep_by_them(part_NW, part_N, visited)]
        (_, cpu, wall), (total, fits) = (
            [side() for side in sides] if index % 2 else [side() for side in reversed(sides)][::-1]
        )
        told["ours"].append({"cpu": cpu, "wall": wall})
        told["theirs_extrapolated"].append(total)
        told["theirs_in_part"].append(fits)
        for what, taken in (("cpu", cpu), ("wall", wall)):
            told["ratio"][what].append(total[what] / taken)
        print(
            f"{name:10} sweep of {len(visited)} fits: ours {cpu:.1f} CPU s ({wall:.1f} wall), "
            f"theirs {total['cpu']:.0f} ({total['wall']:.0f}), extrapolated: "
            f"x{total['cpu'] / cpu:.1f} CPU, x{total['wall'] / wall:.1f} wall; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    told["refit"] = {
        side: facts_of(fitted, x_NW, label_N, penalty=probe.penalty_)
        for side, fitted in (("ours", probe), ("theirs", theirs(x_NW, label_N, probe.penalty_)))
    }
    print(f"{name:10} the last fit, penalty {probe.penalty_:g}: {told['refit']}", flush=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--sweep", nargs="*", default=[], metavar="PROBLEM")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, numpy {np.__version__}", flush=True)
    problems = {"real": real(given.data), **{name: made(*shape) for name, shape in MADE.items()}}
    result = {"machine": machine_facts(Runtime.find("cpu")), "penalty": PENALTY, "one_fit": {}, "sweep": {}}
    for name, problem in problems.items():
        result["one_fit"][name] = one_fit(name, *problem, given.rounds)
        given.out.write_text(json.dumps(result, indent=1) + "\n")
    for name in given.sweep:
        result["sweep"][name] = whole_sweep(name, *problems[name], given.rounds)
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
