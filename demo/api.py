"""What programs ask the page for: fixed names, typed results."""

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
from demo.components import read_path, uploaded
from demo.context import PageContext, error_of, language_of
from demo.tabs import batch, compare

__all__ = ["build"]

_T = TypeVar("_T")


# What Gradio's clients make of a file.
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
        context: Who answers.
        uploads: Where Gradio keeps uploads.
    """

    async def predict(
        photo: Photo,
        request: gr.Request,
        model: str | None = None,
        saliency: bool = False,
    ) -> Answer:
        """Tell what is in a photo.

        Args:
            photo: An uploaded file.
            request: Whose language errors are told in.
            model: Name of the model, as `/models` gives it; without it, the default one.
            saliency: Also tell what in the photo spoke for the answer.

        Returns:
            The fields of a prediction; or `error`, with a stable code and a sentence.
        """

        async def ask() -> Answer:
            _check_model(model)
            context.visitors.check_rate(request)
            path = read_path(_path(photo, uploads))
            answer = await context.predictor.predict(
                path, model=model, saliency=saliency, client=context.visitors.client(request)
            )
            return _fields(answer, saliency=saliency)

        return await _told(ask, request)

    async def predict_batch(
        photos: list[Photo], request: gr.Request, model: str | None = None
    ) -> list[Answer]:
        """Tell what is in each of up to 100 photos.

        Args:
            photos: Uploaded files.
            request: Whose language errors are told in.
            model: Name of the model; without it, the default one.

        Returns:
            As of `/predict`, in the order of the photos; one that fails does not harm the others.
        """
        language = language_of(request)
        try:
            if not isinstance(photos, list) or not 0 < len(photos) <= batch.MAX_PHOTOS:
                raise RequestError(f"Send a list of 1 to {batch.MAX_PHOTOS} photos.")
            _check_model(model)
            context.visitors.check_rate(request, len(photos))
        except Exception as error:  # noqa: BLE001  # the edge of the process
            n = len(photos) if isinstance(photos, list) and len(photos) <= batch.MAX_PHOTOS else 1
            return [_error(error, language)] * max(n, 1)
        paths, client = [_path(each, uploads) for each in photos], context.visitors.client(request)
        given = await batch.answers(context, paths, model, client)
        return [_fields(e) if isinstance(e, Prediction) else _error(e, language) for e in given]

    async def compare_models(photo: Photo, request: gr.Request) -> Comparison:
        """Tell what every model says of a photo.

        Args:
            photo: An uploaded file.
            request: Whose language errors are told in.

        Returns:
            `answers` by the name of the model, as of `/predict`; and `agreement`: the answer that
            most give (a label or `none`), how many `models` those are, `of` how many.
        """

        async def ask() -> Comparison:
            results = await asyncio.to_thread(context.predictor.models)
            context.visitors.check_rate(request, len(results))
            path, client = read_path(_path(photo, uploads)), context.visitors.client(request)
            each = await compare.answers(context, path, results, client)
            answer, models, of = votes(each)
            language = language_of(request)
            return Comparison(
                agreement=Agreement(answer=answer, models=models, of=of),
                answers={
                    name: _fields(given)
                    if isinstance(given, Prediction)
                    else _error(given, language)
                    for name, given in each.items()
                },
            )

        return await _told(ask, request)

    def models(request: gr.Request) -> list[Model]:
        """Every model that answers, with its figures; `default` tells which one does unasked.

        Args:
            request: Whose language errors are told in.

        Returns:
            One row a model; or a single one with `error`, as of `/predict`.
        """
        try:
            default = context.predictor.default_model()
            rows = [
                result.to_dict() | {"default": result.config.name == default}
                for result in context.predictor.models()
            ]
        except Exception as error:  # noqa: BLE001  # the edge of the process: a program reads a code
            return [Model(error=_error(error, language_of(request))["error"])]
        return cast(list[Model], rows)

    # The predictor is the one bound: it says in our words when to come back.
    api(predict, api_name="predict", concurrency_limit=None)
    api(predict_batch, api_name="predict_batch", concurrency_limit=4)
    api(compare_models, api_name="compare", concurrency_limit=None)
    api(models, api_name="models", concurrency_limit=None)


async def _told(ask: Callable[[], Awaitable[_T]], request: gr.Request) -> _T:
    try:
        return await ask()
    except Exception as error:  # noqa: BLE001  # the edge of the process: a program reads a code
        told: Any = _error(error, language_of(request))
        return cast(_T, told)


def _check_model(model: Any) -> None:
    """A program can send anything.

    Raises:
        RequestError: It is no name.
    """
    if not isinstance(model, str | None):
        raise RequestError("`model` is the name of one, or null.")


def _path(photo: Any, uploads: str) -> str:
    return uploaded(photo.get("path") if isinstance(photo, dict) else None, uploads)


def _fields(answer: Prediction, *, saliency: bool = False) -> Answer:
    # The path of the upload means nothing to who sent it.
    return cast(Answer, answer.to_dict(saliency=saliency) | {"photo": None})


def _error(error: Exception, language: locale.Language) -> Answer:
    code, message = error_of(error, language)
    return Answer(error=Error(code=code, message=message))
