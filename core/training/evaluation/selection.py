"""Select and fit the inference settings of an exported network on validation data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.bundle.config import VERDICT, Config, VerdictConfig, VerdictMethod
from core.bundle.folder import Bundle
from core.bundle.leaderboard import best_method
from core.bundle.metrics import ResizeMetrics
from core.inference.calibration import confidences
from core.inference.classifier import Classifier
from core.inference.known_score import OodParams, write_ood_params
from core.inference.reliability import fit_unsure_threshold
from core.settings import Settings
from core.training.evaluation.calibration import fit_calibration
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.model_outputs import ModelOutputs, run_inference
from core.training.evaluation.ood import fit_none_threshold, fit_ood_params, score_outputs
from core.training.evaluation.ood_evaluation import selection_comparisons
from core.training.evaluation.resizing import best_resize_rule, compare_resize_rules
from core.training.evaluation.verdict_probe import TinyProbe

__all__ = ["calibrate", "complete_config", "select_verdict"]


def complete_config(
    draft: Bundle,
    data: EvaluationData,
    settings: Settings,
    probe: OodParams | TinyProbe | None = None,
) -> tuple[Config, dict[str, bytes], ResizeMetrics | None]:
    """Select and fit all inference settings of an exported network.

    These are resize rule, calibration, verdict method and thresholds.

    Args:
        draft: The exported network, uncalibrated.
        data: Validation rows and, where there are any, selection images.
        settings: `threads` is used.
        probe: Parameters of the method `probe`, or how to fit them; None or empty for a network
            without.

    Returns:
        Configuration with resize rule, calibration and verdict; the file of the verdict method by
        its name, if it has one; and the accuracy by resize rule, None without selection images.

    Raises:
        DataError: The probe is yet to be fitted, and there are no real photos.
    """
    classifier = Classifier(draft, threads=settings.threads)
    known = run_inference(classifier, data.validation.images, "validation")
    config, resizing = calibrate(draft, known, data, settings)
    # The draft's configuration holds the digests of its files.
    same_files = config.model_copy(update={"sha256": draft.config.sha256})
    calibrated = Classifier(replace(draft, config=same_files), threads=settings.threads)
    parameters = probe.fit(calibrated, data) if isinstance(probe, TinyProbe) else probe or {}
    verdict, files = select_verdict(calibrated, known, data, parameters)
    if isinstance(probe, TinyProbe) and verdict.method == "probe":
        config = config.model_copy(update={"training": probe.record(config.training)})
    return config.model_copy(update={"verdict": verdict}), files, resizing


def calibrate(
    draft: Bundle, known: ModelOutputs, data: EvaluationData, settings: Settings
) -> tuple[Config, ResizeMetrics | None]:
    """Select the resize rule and fit calibration.

    Validation rows and real photos have the same total weight in the calibration.

    Args:
        draft: The exported network, uncalibrated.
        known: Its outputs on the validation rows.
        data: Validation rows and selection images.
        settings: `threads` is used.

    Returns:
        Configuration with both, and the accuracy by resize rule; None without selection images.
    """
    resizing = compare_resize_rules(draft, data, settings)
    config = draft.config
    if resizing is not None:
        spec = config.input.model_copy(update={"resize": best_resize_rule(resizing)})
        config = config.model_copy(update={"input": spec})
    groups = [(known.outputs.logits, data.validation.labels)]
    if data.real is not None and (images := data.selection) is not None:
        classifier = Classifier(replace(draft, config=config), threads=settings.threads)
        outputs = run_inference(classifier, images.known, images.known_name).outputs
        groups.append((outputs.logits, images.labels))
    return fit_calibration(config, groups), resizing


def select_verdict(
    classifier: Classifier, known: ModelOutputs, data: EvaluationData, probe: OodParams
) -> tuple[VerdictConfig, dict[str, bytes]]:
    """Select the out-of-distribution method and fit both thresholds.

    Without selection images the method is `max_softmax`, since none can be compared.

    Args:
        classifier: The calibrated model.
        known: Its outputs on the validation rows.
        data: Validation rows and selection images.
        probe: Parameters of the method `probe`; empty for a network without.

    Returns:
        The verdict's configuration, and the file of the method by its name, if it has one.
    """
    config = classifier.config
    method: VerdictMethod = "max_softmax"
    ood_params: OodParams = {}
    groups = [known]
    labels = [data.validation.labels]
    outliers = None
    if (images := data.selection) is not None:
        candidates = dict(fit_ood_params(classifier, data.learn))
        if probe:
            candidates["probe"] = probe
            # Its neighbours are rows only, so it would not recognise photos.
            del candidates["knn"]
        method = best_method(selection_comparisons(classifier, data, images, candidates))
        ood_params = candidates[method]
        # Users send photos, so the thresholds must suit photos as well as rows.
        groups.append(run_inference(classifier, images.known, images.known_name))
        labels.append(images.labels)
        others = run_inference(classifier, images.outliers, images.outliers_name)
        outliers = score_outputs(method, others.outputs, config, ood_params)
    logits = [group.outputs.logits for group in groups]
    verdict = VerdictConfig(
        method=method,
        none_below=fit_none_threshold(
            [score_outputs(method, group.outputs, config, ood_params) for group in groups],
            outliers,
        ),
        unsure_below=fit_unsure_threshold(
            np.concatenate([confidences(each, config) for each in logits]),
            np.concatenate(
                [each.argmax(axis=1) == truth for each, truth in zip(logits, labels, strict=True)]
            ),
            np.concatenate([np.full(len(each), 1 / len(each)) for each in logits]),
        ),
    )
    return verdict, {VERDICT: write_ood_params(ood_params)} if ood_params else {}
