from __future__ import annotations

import httpx2

from tests.support.http_service import port_of
from tests.support.raw_http import exchange


def test_openapi_description_has_examples(url: str) -> None:
    description = httpx2.get(f"{url}/openapi.json").json()
    example = description["components"]["schemas"]["PredictionOut"]["examples"][0]
    assert example["verdict"] == "known"
    assert set(description["paths"]) == {
        *("/v1/predict", "/v1/embed", "/v1/models", "/v1/models/{name}"),
        *("/healthz", "/readyz", "/metrics"),
    }
    operations = [each for path in description["paths"].values() for each in path.values()]
    assert not any("422" in operation["responses"] for operation in operations)
    assert description["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    schemas = description["components"]["schemas"]
    parts = {"ArrayOut", "ErrorOut", "SaliencyOut", "TimingOut"}
    assert len(schemas) > len(parts)
    for name, schema in schemas.items():
        assert name in parts or schema["examples"], name
    for route in ("/v1/predict", "/v1/embed"):
        assert "image/jpeg" in description["paths"][route]["post"]["requestBody"]["content"]


def test_service_never_redirects(url: str, jpeg: bytes) -> None:
    for path in ("/v1/predict/", "/v1/models/", "/healthz/"):
        answer = httpx2.post(f"{url}{path}", content=jpeg, follow_redirects=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert "location" not in answer.headers


def test_service_rejects_a_head_that_is_too_large(url: str) -> None:
    assert exchange(port_of(url), b"GET / HTTP/1.1\r\nX: " + b"x" * 16_384).startswith(
        b"HTTP/1.1 431"
    )


def test_photo_of_a_client_that_offers_http2_is_classified(url: str, jpeg: bytes) -> None:
    head = (
        "POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n"
        f"Content-Length: {len(jpeg)}\r\n\r\n"
    )
    assert exchange(port_of(url), head.encode() + jpeg).startswith(b"HTTP/1.1 200")


def test_connection_stays_open_after_an_error(url: str, jpeg: bytes) -> None:
    with httpx2.Client(base_url=url) as client:
        for _ in range(3):
            assert client.post("/v1/predict", content=b"no photo").status_code == 400
        assert client.post("/v1/predict", content=jpeg).status_code == 200
        assert client.head("/healthz").status_code == client.head("/readyz").status_code == 200
        wrong = client.get("/v1/predict")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
        kind = {"Content-Type": "Multipart/Form-Data; boundary=x"}
        assert client.post("/v1/predict", content=b"--x--", headers=kind).json()["error"][
            "code"
        ] == ("bad_request")
