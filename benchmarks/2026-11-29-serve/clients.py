"""The registry's `openai` and `langchain-openai` against a running service: what they get, and what they are told.

Usage: clients.py ADDRESS, as in clients.py http://127.0.0.1:8000, with an environment of
`pip install openai langchain-openai numpy`. What it prints is in clients.log.
"""

import sys

import numpy as np
import openai
from langchain_openai import OpenAIEmbeddings

BASE = f"{sys.argv[1].rstrip('/')}/v1"
CASES = {
    "token ids": {"input": [1, 2, 3]},
    "lists of token ids": {"input": [[1, 2], [3]]},
    "24,000 token ids": {"input": [[*range(8000)]] * 3},
    "dimensions=256": {"dimensions": 256},
    "dimensions=128": {"dimensions": 128},
    "user": {"user": "somebody"},
    "another model": {"model": "text-embedding-3-small"},
    "an empty text": {"input": ""},
    "no text": {"input": []},
    "18,000 letters": {"input": "a cat " * 3000},
    "1,800 letters": {"input": "a cat " * 300},
    "2,048 texts": {"input": ["a cat"] * 2048},
    "2,049 texts": {"input": ["a cat"] * 2049},
    "encoding_format=int8": {"encoding_format": "int8"},
    "another field": {"extra_body": {"task": "query"}},
}


def shown(label, work):
    try:
        print(f"{label}: {work()}")
    except openai.APIStatusError as error:
        print(f"{label}: {type(error).__name__} {error.status_code}: {error.body['message']}")
    except Exception as error:  # noqa: BLE001 - what comes of the client's own
        print(f"{label}: by itself {type(error).__name__}: {str(error)[:150]}")


def main():
    client = openai.OpenAI(base_url=BASE, api_key="none", max_retries=0)
    name = client.models.list().data[0].id
    both = {"model": name, "input": ["a cat", "a dog"]}
    rows = np.float32([item.embedding for item in client.embeddings.create(**both).data])
    floats = np.float32([item.embedding for item in client.embeddings.create(**both, encoding_format="float").data])
    print(f"openai {openai.__version__}: base64, its default, and float are equal: {np.array_equal(rows, floats)}")
    for label, case in CASES.items():
        asked = {"model": name, "input": "a cat"} | case
        shown(label, lambda asked=asked: f"answered, {client.embeddings.create(**asked).usage.prompt_tokens} tokens")

    def langchain(**named):
        embeddings = OpenAIEmbeddings(base_url=BASE, api_key="none", model=name, max_retries=0, **named)
        found = embeddings.embed_documents(["a cat", "a dog"])
        same = np.allclose(found, rows, atol=1e-6) and np.allclose(embeddings.embed_query("a cat"), rows[0], atol=1e-6)
        return f"the same rows as openai's: {same}"

    shown("langchain, texts", lambda: langchain(check_embedding_ctx_length=False))
    # Its default, where the vocabulary of tiktoken can be fetched, posts these.
    shown("langchain, token ids", lambda: client.embeddings.create(model=name, input=[[64, 8415], [64, 5679]]))


main()
