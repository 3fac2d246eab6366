"""One thread, one model: what is asked together is encoded together, and what nobody waits for is left out."""

import threading

import pytest
import torch
from patience import PATIENCE

from seesay.service import model_thread
from seesay.service.model_thread import ModelThread
from seesay.service.refusals import Refusal

COLOURS = ["red", "green", "blue"]


@pytest.fixture
def held(colour_model):
    """A thread that is busy until its gate is opened, and the sizes of its batches."""
    gate, sizes = threading.Event(), []
    thread = ModelThread(colour_model, capacity=4, on_batch=sizes.append)
    first = thread.call(lambda: gate.wait(PATIENCE))
    while not first.running():
        threading.Event().wait(0.001)
    # The window of the batch with the first job may still be open.
    threading.Event().wait(3 * model_thread.WINDOW_SECONDS)
    yield thread, gate, sizes
    gate.set()
    thread.close(seconds=PATIENCE)
    assert not thread.is_alive


def test_jobs_that_wait_are_one_batch_and_each_gets_its_own_rows(held, colour_model):
    thread, gate, sizes = held
    pixels = torch.full((3, 2, 2), 255, dtype=torch.uint8)
    jobs = [thread.encode(["red"]), thread.encode(["green", "blue"], [pixels]), thread.encode(["blue"])]
    gate.set()
    rows = [job.result(PATIENCE) for job in jobs]
    assert sizes == [5]
    assert torch.equal(
        torch.cat([text for text, _ in rows]), colour_model.encode_texts(["red", "green", "blue", "blue"])
    )
    assert [len(image) for _, image in rows] == [0, 1, 0]


def test_a_full_queue_refuses_at_once_with_the_time_to_come_again(held):
    thread, _, _ = held
    for _ in range(4):
        thread.encode(["red"])
    with pytest.raises(Refusal, match="try again") as refused:
        thread.encode(["red"])
    assert refused.value.status == 503 and refused.value.headers["retry-after"] == "1"


def test_what_is_cancelled_before_its_turn_is_never_encoded(held, colour_model):
    thread, gate, _ = held
    gone, stays = thread.encode(["red"]), thread.encode(["blue"])
    assert gone.cancel()
    gate.set()
    stays.result(PATIENCE)
    assert colour_model.texts_seen == ["blue"]


def test_a_job_that_fails_does_not_stop_the_next(held):
    thread, gate, _ = held
    broken = thread.call(lambda: 1 // 0)
    gate.set()
    with pytest.raises(ZeroDivisionError):
        broken.result(PATIENCE)
    assert thread.call(lambda: 7).result(PATIENCE) == 7 and thread.is_alive
