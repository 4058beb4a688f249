"""Reference servers: `python -m bench.rivals litserve|gradio PORT WORKERS BATCH`."""

import logging
import sys
from typing import Annotated, Any

import gradio
import litserve
import litserve.server
from fastapi import Body
from PIL import Image

from core import load
from core.inference.classifier import Classifier, PreprocessedPhoto
from core.inference.prediction import Prediction

__all__ = ["main"]

MODEL = "scratch"


# LitServe evaluates the annotations of `decode_request` at run time, so this module must not import
# `annotations` from `__future__`.
class Api(litserve.LitAPI):  # type: ignore[misc]  # litserve is not typed
    """LitServe API with our preprocessing and model; the request body is the photo."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self._classifier: Classifier = load(MODEL)

    def decode_request(
        self, request: Annotated[bytes, Body(media_type="application/octet-stream")]
    ) -> PreprocessedPhoto:
        """Decode and resize a photo."""
        return self._classifier.preprocess(request)

    def batch(self, inputs: list[PreprocessedPhoto]) -> list[PreprocessedPhoto]:
        """Return the waiting photos as one batch."""
        return inputs

    def predict(
        self, photos: PreprocessedPhoto | list[PreprocessedPhoto]
    ) -> Prediction | list[Prediction]:
        """Classify one photo, or a batch where LitServe batches requests."""
        batch = photos if isinstance(photos, list) else [photos]
        predictions = self._classifier.infer(batch, saliency=[False] * len(batch))
        return predictions if isinstance(photos, list) else predictions[0]

    def unbatch(self, output: list[Prediction]) -> list[Prediction]:
        """Split a batch into its predictions."""
        return output

    def encode_response(self, output: Prediction) -> dict[str, Any]:
        """Convert a prediction to the JSON of our HTTP service."""
        return output.to_dict()


def _litserve(port: int, workers: int, batch: int) -> None:
    # LitServe's MCP routes need mcp 1, and fail with the mcp 2 of the extra `mcp`.
    vars(litserve.server)["_MCP_AVAILABLE"] = False
    # The timeout for filling a batch is about the duration of one photo; our service does not wait.
    api = Api(max_batch_size=batch, batch_timeout=0.002 if batch > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(
        host="127.0.0.1",
        port=port,
        generate_client_file=False,
        log_level="warning",
    )


def _gradio(port: int) -> None:
    classifier = load(MODEL)

    def predict(photo: Image.Image) -> dict[str, float]:
        return classifier.predict(photo).scores

    page = gradio.Interface(predict, gradio.Image(type="pil"), gradio.Label(), api_name="predict")
    page.launch(server_name="127.0.0.1", server_port=port, quiet=True)


def main() -> None:
    """Start the server that the command line names."""
    logging.getLogger("litserve").setLevel(logging.WARNING)
    kind, port, workers, batch = sys.argv[1], *map(int, sys.argv[2:])
    if kind == "litserve":
        _litserve(port, workers, batch)
    else:
        _gradio(port)


if __name__ == "__main__":
    main()
