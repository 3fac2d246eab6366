"""Microseconds to write one row of 256 numbers as JSON, by json and by pydantic. Usage: rows.py"""

import json
import timeit

import torch
from pydantic_core import to_json

torch.manual_seed(0)
answer = {"texts": torch.nn.functional.normalize(torch.randn(1, 256), dim=1).tolist()}
assert json.loads(to_json(answer)) == json.loads(json.dumps(answer)) == answer
for write in (json.dumps, to_json, json.dumps, to_json):
    seconds = min(timeit.repeat(lambda write=write: write(answer), number=200, repeat=20)) / 200
    print(f"{write.__name__}: {1e6 * seconds:.0f} us")
