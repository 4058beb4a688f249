"""What a trained model is completed with: resize rule, calibration and verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.bundle.config import VERDICT, Config, VerdictConfig, VerdictMethod
from core.bundle.folder import Bundle
from core.bundle.leaderboard import best_method
from core.bundle.metrics import ResizeMetrics
from core.inference.calibration import confidences, probabilities
from core.inference.classifier import Classifier
from core.inference.known_score import OodParams, write_ood_params
from core.settings import Settings
from core.training.evaluation.calibrate import find_beta, find_calibration, find_unsure_below
from core.training.evaluation.evaluate import choose_resizing
from core.training.evaluation.measure import EvaluationData, method_choices, resize_choices
from core.training.evaluation.ood import (
    ModelOutputs,
    fit_ood_params,
    run_inference,
    scores_of,
    threshold,
)

__all__ = ["calibrate", "choose_verdict"]


def calibrate(
    draft: Bundle, known: ModelOutputs, rows: EvaluationData, settings: Settings
) -> tuple[Config, ResizeMetrics | None]:
    """Choose the resize rule and calibrate; rows and real photos count alike.

    Args:
        draft: The model.
        known: What it gives on the validation rows.
        rows: What to choose by.
        settings: `threads` is used.
    """
    resizing = resize_choices(draft, rows, settings)
    changed = draft.config
    if resizing is not None:
        spec = changed.input.model_copy(update={"resize": choose_resizing(resizing)})
        changed = changed.model_copy(update={"input": spec})
    groups, labels = [known.outputs.logits], [rows.validation.labels]
    if rows.real is not None and (sharp := rows.sharp) is not None:
        classifier = Classifier(replace(draft, config=changed), threads=settings.threads)
        groups.append(run_inference(classifier, sharp.images, sharp.name).outputs.logits)
        labels.append(sharp.labels)
    logits, truth = np.concatenate(groups), np.concatenate(labels)
    weights = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    temperature, exponent = find_calibration(logits, truth, weights)
    beta = find_beta(probabilities(logits, temperature, exponent), truth, weights)
    calibration = {"temperature": temperature, "exponent": exponent, "beta": beta}
    return changed.model_copy(update=calibration), resizing


def choose_verdict(
    classifier: Classifier, known: ModelOutputs, rows: EvaluationData, probe: OodParams
) -> tuple[VerdictConfig, dict[str, bytes]]:
    """Choose method and thresholds, and return the file that the method needs.

    Without images of none of the labels there is nothing to choose a method by.

    Args:
        classifier: The model, calibrated.
        known: What it gives on the validation rows.
        rows: What to choose by.
        probe: What the method `probe` needs, where there is such.
    """
    config = classifier.config
    method: VerdictMethod = "max_softmax"
    ood_params: OodParams = {}
    groups = [known]
    labels = [rows.validation.labels]
    if (sharp := rows.sharp) is not None:
        each = dict(fit_ood_params(classifier, rows.learn))
        if probe:
            each["probe"] = probe
            # Of photos it knows only what rows look like.
            del each["knn"]
        method = best_method(method_choices(classifier, rows, sharp, each))
        ood_params = each[method]
        # People send photos: the thresholds must suit them as well, and each kind counts the same.
        groups.append(run_inference(classifier, sharp.images, sharp.name))
        labels.append(sharp.labels)
    answers = [group.outputs.logits for group in groups]
    verdict = VerdictConfig(
        method=method,
        none_below=threshold(
            [scores_of(method, group.outputs, config, ood_params) for group in groups]
        ),
        unsure_below=find_unsure_below(
            np.concatenate([confidences(each, config) for each in answers]),
            np.concatenate(
                [each.argmax(axis=1) == truth for each, truth in zip(answers, labels, strict=True)]
            ),
            np.concatenate([np.full(len(each), 1 / len(each)) for each in answers]),
        ),
    )
    return verdict, {VERDICT: write_ood_params(ood_params)} if ood_params else {}
