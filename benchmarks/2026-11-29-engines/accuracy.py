"""Top-1 of torch, of exported files and of int8 on trained weights. python accuracy.py DATA PHOTOS OUT.json MODEL...

DATA holds eval-food20, eval-dtd10, eval-tinyimagenet-val (labelled sets); PHOTOS is a folder of other photos.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch

import seesay

torch.set_num_threads(1)
data, photos, out, *models = sys.argv[1:]
found = []
for model in models:
    for name in ("eval-dtd10", "eval-food20", "eval-tinyimagenet-val"):
        for to in ("onnx", "openvino"):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    done = seesay.export(
                        model, Path(folder) / "x", to=to, int8=True, calibrate=photos, check=Path(data) / name
                    )
                    rows = done.rows
                except seesay.SeesayError as error:
                    rows = [{"name": f"{to} int8", "refused": str(error)}]
            for row in rows[2:] or rows:
                found.append({"model": Path(model).name, "set": name, "top1_torch": rows[0].get("top1"), **row})
                print(found[-1], flush=True)
            Path(out).write_text(json.dumps(found, indent=1) + "\n")
