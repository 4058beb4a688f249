"""Validation of a form while it is received, before its parser buffers the parts."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from core.errors import RequestError

__all__ = ["FormCheck"]

# Maximum size of one part without a file name, and of all of them: parsers keep these in memory.
_MAX_FIELD_BYTES = 64 * 1024
_MAX_FIELDS_BYTES = 2 * 2**20
_MAX_DISPOSITION_BYTES = 8 * 1024


class FormCheck:
    """Rejects unusable boundaries, files without a file name, and large parts that are not files.

    Other errors of a form are left to its parser.

    Args:
        content_type: Content type of the form, with its boundary.
        file_parts: Name of the parts that must be files; None where any may be a field.

    Raises:
        RequestError: The boundary is rejected.
    """

    def __init__(self, content_type: str, *, file_parts: str | None = None) -> None:
        self._file_parts = file_parts
        _, options = parse_options_header(content_type)
        self._parser: MultipartParser | None = self._new_parser(options.get(b"boundary", b""))
        self._header = b""
        self._disposition = b""
        self._name = ""
        self._is_file = False
        self._part_bytes = 0
        self._field_bytes = 0

    def feed(self, piece: bytes) -> None:
        """Validate the next chunk of the body.

        Raises:
            RequestError: A part is rejected.
        """
        if self._parser is None:
            return
        try:
            self._parser.write(piece)
        except FormParserError:
            self._parser = None

    def _new_parser(self, boundary: bytes) -> MultipartParser:
        try:
            return MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_begin": self._begin_header,
                    "on_header_field": self._add_to_name,
                    "on_header_value": self._add_to_value,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_to_part,
                },
            )
        except FormParserError as error:
            raise RequestError(
                f"The form cannot be parsed: {error}. Send it with a shorter boundary."
            ) from error

    def _begin_part(self) -> None:
        self._disposition = b""
        self._part_bytes = 0

    def _begin_header(self) -> None:
        self._header = b""

    def _add_to_name(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header + data[start:end])[:100]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = (self._disposition + data[start:end])[:_MAX_DISPOSITION_BYTES]

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")[:100]
        self._is_file = b"filename" in options
        if self._is_file:
            return
        if b"filename*" in self._disposition.lower():
            raise RequestError(
                f"The form part {self._name!r} names its file by filename* alone, which RFC 7578 "
                "does not allow. Send the file name as filename, in UTF-8."
            )
        if self._name == self._file_parts:
            raise RequestError(
                f"The form part {self._name!r} has no file name. Send photos as files, each with a "
                "filename."
            )

    def _add_to_part(self, data: bytes, start: int, end: int) -> None:
        del data
        if self._is_file:
            return
        self._part_bytes += end - start
        self._field_bytes += end - start
        if self._part_bytes > _MAX_FIELD_BYTES or self._field_bytes > _MAX_FIELDS_BYTES:
            raise RequestError(
                f"The form part {self._name!r} has no file name and is larger than "
                f"{_MAX_FIELD_BYTES // 1024} kB. Send photos as files, each with a filename."
            )
