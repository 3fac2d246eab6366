import math

import numpy as np
import torch

from seesay.formulas.similarity import class_head, log_mean_exp, match_probabilities, probabilities

GENERATOR = np.random.default_rng(0)


def reference_head(prompt_CKD: np.ndarray) -> np.ndarray:
    rows = []
    for prompts in prompt_CKD.astype(np.float64):
        mean = np.mean([prompt / np.sqrt((prompt**2).sum()) for prompt in prompts], axis=0)
        rows.append(mean / np.sqrt((mean**2).sum()))
    return np.array(rows)


def test_the_head_is_the_direction_of_the_mean_of_unit_prompts():
    prompt_CKD = GENERATOR.normal(size=(4, 3, 8)).astype(np.float32)
    np.testing.assert_allclose(class_head(torch.tensor(prompt_CKD)).numpy(), reference_head(prompt_CKD), atol=1e-6)


def test_a_long_prompt_vector_weighs_no_more_than_a_short_one():
    prompt_CKD = torch.tensor([[[100.0, 0.0], [0.0, 1.0]]])
    torch.testing.assert_close(class_head(prompt_CKD), torch.tensor([[0.5**0.5, 0.5**0.5]]))


def test_probabilities_agree_with_a_float64_softmax_of_scaled_cosines():
    image_BD = GENERATOR.normal(size=(5, 8))
    image_BD /= np.linalg.norm(image_BD, axis=1, keepdims=True)
    head_CD = reference_head(GENERATOR.normal(size=(3, 2, 8)))
    logits_BC = 100 * image_BD @ head_CD.T
    wanted_BC = np.exp(logits_BC) / np.exp(logits_BC).sum(1, keepdims=True)
    cosine_BC = torch.tensor(image_BD).float() @ torch.tensor(head_CD).float().T
    found_BC = probabilities(cosine_BC, 100.0)
    np.testing.assert_allclose(found_BC.numpy(), wanted_BC, atol=1e-5)


def test_one_class_alone_always_gets_probability_one():
    assert probabilities(torch.tensor([[-1.0]]), 100.0).item() == 1.0


def test_a_class_of_several_prompts_has_the_mean_of_their_likelihoods():
    told_BK = GENERATOR.normal(size=(4, 3)) * 30 - 200
    wanted_B = [math.log(sum(math.exp(told + 200) for told in told_K) / 3) - 200 for told_K in told_BK]
    np.testing.assert_allclose(log_mean_exp(torch.tensor(told_BK)).numpy(), wanted_B, rtol=1e-12)


def test_match_probabilities_agree_with_a_float64_sigmoid_and_know_nothing_of_the_other_classes():
    image_BD = GENERATOR.normal(size=(5, 8))
    image_BD /= np.linalg.norm(image_BD, axis=1, keepdims=True)
    head_CD = reference_head(GENERATOR.normal(size=(3, 2, 8)))
    wanted_BC = 1 / (1 + np.exp(-(117.3 * image_BD @ head_CD.T - 12.9)))
    cosine_BC = torch.tensor(image_BD).float() @ torch.tensor(head_CD).float().T
    found_BC = match_probabilities(cosine_BC, 117.3, -12.9)
    np.testing.assert_allclose(found_BC.numpy(), wanted_BC, atol=1e-5)
    torch.testing.assert_close(match_probabilities(cosine_BC[:, 1:2], 117.3, -12.9), found_BC[:, 1:2])
