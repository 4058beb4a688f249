from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_service import post


def form(disposition: str, content: bytes) -> dict[str, Any]:
    """Return the options of `post` for a form of one part."""
    head = f"--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    return {"content": head.encode() + content + b"\r\n--B--\r\n", "headers": kind}


@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize(
    "disposition",
    [
        "name=\"photo\"; filename*=UTF-8''sch%C3%B6n.jpg",
        "name=photo; FILENAME*=utf-8'de'sch%C3%B6n.jpg",
        "filename*=UTF-8''x.jpg; name=photo",
    ],
)
def test_part_with_filename_star_alone_is_rejected(url: str, disposition: str, size: int) -> None:
    answer = post(url, **form(disposition, bytes(size)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert "form part 'photo' names its file by filename* alone" in answer.text


def test_part_with_both_kinds_of_file_name_is_classified(url: str, jpeg: bytes) -> None:
    disposition = "name=photo; filename=\"x.jpg\"; filename*=UTF-8''sch%C3%B6n.jpg"
    answer = post(url, **form(disposition, jpeg), params={"model": "classic"})
    assert "label" in answer.json()["predictions"][0]


def test_large_part_without_a_file_name_is_rejected(url: str) -> None:
    answer = post(url, **form("name=photo", bytes(100_000)))
    assert answer.status_code == 400
    assert "form part 'photo' has no file name" in answer.json()["error"]["message"]


def test_form_with_an_invalid_boundary_is_rejected(url: str) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary={'B' * 5_000}"}
    answer = post(url, content=b"--B\r\n", headers=kind)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert "The form cannot be parsed" in answer.json()["error"]["message"]
