"""Endpoints of the page for programs, with stable names and typed results."""

# Gradio reads the types of the endpoints, so they must not be text: no `annotations` here.

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NotRequired, TypedDict, TypeVar, cast

import gradio as gr
from gradio.events import api

from core import locale
from core.errors import RequestError
from core.inference.prediction import Prediction
from core.serving.ask import votes
from demo.classify_many import MAX_PHOTOS, predict_many
from demo.components import read_path, uploaded
from demo.context import PageContext, error_of, language_of
from demo.tabs import compare

__all__ = ["build"]

_T = TypeVar("_T")


# The form that Gradio's clients give a file.
class Photo(TypedDict):
    path: str
    meta: NotRequired[dict[str, str]]


class Timing(TypedDict):
    decode: float
    infer: float


class Error(TypedDict):
    code: str
    message: str


class Answer(TypedDict, total=False):
    photo: None
    model: str
    revision: str
    label: str
    confidence: float
    verdict: Literal["known", "unsure", "none"]
    known_score: float
    scores: dict[str, float]
    timing_ms: Timing
    saliency: dict[str, Any] | None
    error: Error


class Agreement(TypedDict):
    answer: str
    models: int
    of: int


class Comparison(TypedDict, total=False):
    agreement: Agreement
    answers: dict[str, Answer]
    error: Error


class Model(TypedDict, total=False):
    name: str
    title: str
    family: str
    revision: str
    labels: list[str]
    accuracy: float
    precision: float
    recall: float
    f1: float
    ece: float
    test: dict[str, Any]
    reported: dict[str, float] | None
    parameters: int
    bytes: int
    milliseconds: float
    hardware: str
    trained: dict[str, Any]
    default: bool
    error: Error


def build(context: PageContext, uploads: str) -> None:
    """Add the endpoints to the page that is being built.

    Args:
        context: Context of the page.
        uploads: Folder of Gradio's uploads.
    """
    endpoints = _Endpoints(context, uploads)
    # The predictor bounds the load, and its error says when to retry.
    api(endpoints.predict, api_name="predict", concurrency_limit=None)
    api(endpoints.predict_batch, api_name="predict_batch", concurrency_limit=4)
    api(endpoints.compare, api_name="compare", concurrency_limit=None)
    api(endpoints.models, api_name="models", concurrency_limit=None)


class _Endpoints:
    """Endpoints of the page for programs; Gradio publishes their names, types and docstrings."""

    def __init__(self, context: PageContext, uploads: str) -> None:
        self._context = context
        self._uploads = uploads

    async def predict(
        self,
        photo: Photo,
        request: gr.Request,
        model: str | None = None,
        saliency: bool = False,
    ) -> Answer:
        """Classify a photo.

        Args:
            photo: An uploaded file.
            request: Request, whose language error messages are in.
            model: Name of the model, as listed by `/models`; None for the default model.
            saliency: Also return which regions of the photo supported the prediction.

        Returns:
            The fields of a prediction; or `error`, with a stable code and a message.
        """
        context = self._context

        async def ask() -> Answer:
            _check_model(model)
            context.photo_limiter.check_rate(request)
            path = read_path(_path(photo, self._uploads))
            answer = await context.predictor.predict(
                path, model=model, saliency=saliency, client=context.photo_limiter.client(request)
            )
            return _fields(answer, saliency=saliency)

        return await _answer_or_error(ask, request)

    async def predict_batch(
        self, photos: list[Photo], request: gr.Request, model: str | None = None
    ) -> list[Answer]:
        """Classify up to 100 photos.

        Args:
            photos: Uploaded files.
            request: Request, whose language error messages are in.
            model: Name of the model; None for the default model.

        Returns:
            An answer as of `/predict` for each photo, in order; a photo that fails does not affect
            the others.
        """
        context, language = self._context, language_of(request)
        try:
            if not isinstance(photos, list) or not 0 < len(photos) <= MAX_PHOTOS:
                raise RequestError(f"Send a list of 1 to {MAX_PHOTOS} photos.")
            _check_model(model)
            context.photo_limiter.check_rate(request, len(photos))
        except Exception as error:  # noqa: BLE001  # the edge of the process
            n = len(photos) if isinstance(photos, list) and len(photos) <= MAX_PHOTOS else 1
            return [_error(error, language)] * max(n, 1)
        paths, client = (
            [_path(each, self._uploads) for each in photos],
            context.photo_limiter.client(request),
        )
        given = await predict_many(context, paths, model, client)
        return [_fields(e) if isinstance(e, Prediction) else _error(e, language) for e in given]

    async def compare(self, photo: Photo, request: gr.Request) -> Comparison:
        """Classify a photo with every model.

        Args:
            photo: An uploaded file.
            request: Request, whose language error messages are in.

        Returns:
            `answers` as of `/predict` by the name of the model; and `agreement`: the answer that
            most models give (a label or `none`), how many `models` give it, and `of` how many.
        """
        context, language = self._context, language_of(request)

        async def ask() -> Comparison:
            results = await asyncio.to_thread(context.predictor.models)
            context.photo_limiter.check_rate(request, len(results))
            path = read_path(_path(photo, self._uploads))
            client = context.photo_limiter.client(request)
            each = await compare.answers(context, path, results, client)
            answer, models, of = votes(each)
            return Comparison(
                agreement=Agreement(answer=answer, models=models, of=of),
                answers={
                    name: _fields(given)
                    if isinstance(given, Prediction)
                    else _error(given, language)
                    for name, given in each.items()
                },
            )

        return await _answer_or_error(ask, request)

    def models(self, request: gr.Request) -> list[Model]:
        """List every model with its results; `default` marks the default model.

        Args:
            request: Request, whose language error messages are in.

        Returns:
            One row for each model; or a single one with `error`, as of `/predict`.
        """
        predictor = self._context.predictor
        try:
            default = predictor.default_model()
            rows = [
                result.to_dict() | {"default": result.config.name == default}
                for result in predictor.models()
            ]
        except Exception as error:  # noqa: BLE001  # any error is returned with a code
            return [Model(error=_error(error, language_of(request))["error"])]
        return cast(list[Model], rows)


async def _answer_or_error(ask: Callable[[], Awaitable[_T]], request: gr.Request) -> _T:
    try:
        return await ask()
    except Exception as error:  # noqa: BLE001  # any error is returned with a code
        told: Any = _error(error, language_of(request))
        return cast(_T, told)


def _check_model(model: Any) -> None:
    """Check the name of a model, since a program can send anything.

    Raises:
        RequestError: It is not a string.
    """
    if not isinstance(model, str | None):
        raise RequestError("`model` is the name of one, or null.")


def _path(photo: Any, uploads: str) -> str:
    return uploaded(photo.get("path") if isinstance(photo, dict) else None, uploads)


def _fields(answer: Prediction, *, saliency: bool = False) -> Answer:
    # The path of the upload is of no use to the client.
    return cast(Answer, answer.to_dict(saliency=saliency) | {"photo": None})


def _error(error: Exception, language: locale.Language) -> Answer:
    code, message = error_of(error, language)
    return Answer(error=Error(code=code, message=message))
