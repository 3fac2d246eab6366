"""The tiled loss beside the plain one: exactness, time and memory, forward and backward, on one thread.

python compare.py --out result.json > log.txt
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.base.runtime import Runtime, machine_facts
from seesay.formulas.contrastive import contrastive_loss, sigmoid_loss
from seesay.formulas.tiled import TILE, tiled_contrastive_loss, tiled_sigmoid_loss

WIDTH = 512
# Name, how far a caption is moved from its image (None: drawn on its own), scale.
KINDS = (("random", None, 1 / 0.07), ("random", None, 100.0), ("trained", 3.0, 100.0), ("trained", 2.0, 100.0))
EXACT_PAIRS = 4096
SMALL = ((64, 100, 15), (256, 20, 15), (1024, 2, 9), (4096, 1, 7))  # pairs, calls per round, rounds
LARGE = ((16384, 3), (32768, 2))  # pairs, rounds
PLAIN_MOST = 16384  # at 32,768 the plain form takes more memory than this machine has to spare
CHILD = "child"


def inputs(pairs: int, noise: float | None, scale: float) -> list[Tensor]:
    torch.manual_seed(0)
    image_BD = F.normalize(torch.randn(pairs, WIDTH), dim=1)
    drawn_BD = torch.randn(pairs, WIDTH)
    text_BD = F.normalize(drawn_BD if noise is None else image_BD + noise * drawn_BD / WIDTH**0.5, dim=1)
    return [x.requires_grad_() for x in (image_BD, text_BD, torch.tensor(scale))]


def in_float64(image_BD: Tensor, text_BD: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss and gradients by the formula, the right logit apart from the wrong ones so that nothing cancels."""
    image_BD, text_BD, scale = image_BD.detach().double(), text_BD.detach().double(), scale.detach().double()
    logits_BB = scale * image_BD @ text_BD.T
    right_B = logits_BB.diagonal().clone()
    logits_BB.fill_diagonal_(-torch.inf)
    loss, slope_BB = 0.0, 0.0
    for dim, right in ((1, right_B[:, None]), (0, right_B)):
        odds_B = (logits_BB - right).logsumexp(dim)
        loss = loss - F.logsigmoid(-odds_B).sum()
        slope_BB = slope_BB + (logits_BB - right + F.logsigmoid(-odds_B).unsqueeze(dim)).exp()
        slope_BB = slope_BB - torch.diag(odds_B.sigmoid())
    slope_BB = slope_BB / (2 * len(image_BD))
    scale_slope = (slope_BB @ text_BD * image_BD).sum()
    return loss / (2 * len(image_BD)), scale * slope_BB @ text_BD, scale * slope_BB.T @ image_BD, scale_slope


def exactness() -> list[dict]:
    rows = []
    for name, noise, scale in KINDS:
        given = inputs(EXACT_PAIRS, noise, scale)
        exact = in_float64(*given)
        for form in (contrastive_loss, tiled_contrastive_loss):
            loss = form(*given)
            found = loss.detach(), *torch.autograd.grad(loss, given)
            errors = [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]
            row = {"kind": name, "scale": round(scale, 2), "loss": float(exact[0]), "form": form.__name__}
            rows.append(
                row | dict(zip(("loss_error", "image_error", "text_error", "scale_error"), errors, strict=True))
            )
            say(rows[-1])
    return rows


def small_batches() -> list[dict]:
    """CPU and wall seconds of one call each, alternating, median over rounds."""
    rows = []
    bias = torch.tensor(-10.0, requires_grad=True)
    pairs_of_forms = {
        "softmax": (contrastive_loss, tiled_contrastive_loss),
        "sigmoid": (lambda a, b, s: sigmoid_loss(a, b, s, bias), lambda a, b, s: tiled_sigmoid_loss(a, b, s, bias)),
    }
    for pairs, calls, rounds in SMALL:
        given = inputs(pairs, None, 100.0)
        for name, (plain, tiled) in pairs_of_forms.items():
            seconds: dict[str, list[tuple[float, float]]] = {"plain": [], "tiled": []}
            for _ in range(rounds + 1):
                for kind, form in (("plain", plain), ("tiled", tiled)):
                    seconds[kind].append(timed(form, given, calls))
            ratios = sorted(a[0] / b[0] for a, b in zip(seconds["plain"][1:], seconds["tiled"][1:], strict=True))
            row: dict = {"loss": name, "pairs": pairs, "rounds": rounds}
            for kind, times in seconds.items():
                row[f"{kind}_cpu_ms"], row[f"{kind}_wall_ms"] = (
                    round(1e3 * statistics.median(part), 3) for part in zip(*times[1:], strict=True)
                )
            row["cpu_ratio"] = round(statistics.median(ratios), 2)
            row["cpu_ratio_quartiles"] = [round(x, 2) for x in (ratios[rounds // 4], ratios[-1 - rounds // 4])]
            rows.append(row)
            say(row)
    return rows


def timed(form: Callable[..., Tensor], given: list[Tensor], calls: int) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        for x in given:
            x.grad = None
        form(*given).backward()
    return (time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls


def large_batches() -> list[dict]:
    """One process per measurement, so that its peak memory is its own; forms and sizes take turns."""
    rows = []
    for pairs, rounds in LARGE:
        found: dict[str, list[dict]] = {}
        for _ in range(rounds):
            for form in ["plain", "tiled"] if pairs <= PLAIN_MOST else ["tiled"]:
                command = [sys.executable, __file__, CHILD, form, str(pairs)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.setdefault(form, []).append(json.loads(done.stdout))
                say({"form": form, "pairs": pairs} | found[form][-1])
        for form, told in found.items():
            keys = ("cpu_s", "wall_s", "extra_mb")
            rows.append({"form": form, "pairs": pairs, "rounds": rounds} | {k: median(told, k) for k in keys})
    return rows


def median(told: list[dict], key: str) -> float:
    return round(statistics.median(each[key] for each in told), 2)


def child(form: str, pairs: int) -> None:
    """One forward and backward, and the peak of resident memory above what the inputs and a small call needed."""
    given = inputs(pairs, None, 100.0)
    forms = {"plain": contrastive_loss, "tiled": tiled_contrastive_loss}
    forms[form](*(x.detach()[:64].requires_grad_() if x.dim() else x for x in given)).backward()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = peak_kib()
    cpu_s, wall_s = timed(forms[form], given, 1)
    extra_mb = (peak_kib() - before) * 1024 / 1e6
    print(json.dumps({"cpu_s": round(cpu_s, 2), "wall_s": round(wall_s, 2), "extra_mb": round(extra_mb, 1)}))


def peak_kib() -> int:
    """Linux's own count; `ru_maxrss` would begin with the peak of the process that started this one."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


def say(row: dict) -> None:
    print("  ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result: dict = {"width": WIDTH, "tile": TILE, "threads": 1, "exactness_at_4096": exactness()}
    result["small_batches"], result["large_batches"] = small_batches(), large_batches()
    large = {(row["form"], row["pairs"]): row for row in result["large_batches"]}
    plain, half, whole = large["plain", PLAIN_MOST], large["tiled", PLAIN_MOST], large["tiled", 2 * PLAIN_MOST]
    result["at_16384"] = {"time": plain["cpu_s"] / half["cpu_s"], "memory": plain["extra_mb"] / half["extra_mb"]}
    result["at_32768_plain_times_4"] = {
        "time": 4 * plain["cpu_s"] / whole["cpu_s"],
        "memory": 4 * plain["extra_mb"] / whole["extra_mb"],
    }
    say(result["at_16384"])
    say(result["at_32768_plain_times_4"])
    result["machine"] = machine_facts(Runtime.find("cpu"))
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == [CHILD]:
        child(sys.argv[2], int(sys.argv[3]))
    else:
        main()
