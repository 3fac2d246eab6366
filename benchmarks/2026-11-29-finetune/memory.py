"""What AdamW holds for ViT-B/32 when all of it is trained, and with low-rank updates of rank 8.

python benchmarks/2026-11-29-finetune/memory.py
"""

import torch

import seesay
from seesay.training.optimizer import optimizer_of
from seesay.training.plan import OptimizerPlan
from seesay.training.settings import StartSettings, TrainSettings
from seesay.training.start import learner_from

torch.set_num_threads(1)
plan = OptimizerPlan(kind="adamw", learning_rate=1e-3, weight_decay=0.1, beta1=0.9, beta2=0.98, epsilon=1e-6)
model = seesay.build("ViT-B/32")
for how in ("lora", "full"):
    learner = learner_from(model, TrainSettings(start=StartSettings(how=how)), name=how)
    optimizer, trained = optimizer_of(learner.clip, plan), 0
    for parameter in learner.clip.parameters():
        if parameter.requires_grad:
            parameter.grad, trained = torch.zeros_like(parameter), trained + parameter.numel()
    optimizer.step()
    held = sum(tensor.nbytes for state in optimizer.state.values() for tensor in state.values())
    print(f"{how}: {trained:,} numbers trained, optimizer {held:,} bytes, gradients {4 * trained:,} bytes")
