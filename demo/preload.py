"""Files of Gradio's front end that the first view needs, so that a browser can request them early.

Gradio's script imports them in a chain of four steps. Each step waits for the network before the
next files are known, unless the document names them all.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import gradio

__all__ = ["preload_links"]

_FRONT_END = Path(gradio.__file__).parent / "templates" / "frontend"
# Components of the first view.
_COMPONENTS = ("column", "row", "html", "tabs", "tabitem", "image", "button", "dropdown", "form")

_ENTRY = re.compile(r'src="\./assets/(index-[\w-]+\.js)"')
# As Vite writes them: the list of a script's dependencies, and imports that refer to its entries.
_DEPENDENCIES = re.compile(r"m\.f=\[([^\]]*)\]")
_IMPORT = re.compile(r"import\(`\./([^`]+)`\)[^_]{0,60}__vite__mapDeps\(\[([\d,]*)\]\)")

logger = logging.getLogger(__name__)


def preload_links(front_end: Path = _FRONT_END, components: Iterable[str] = _COMPONENTS) -> str:
    """Return link elements that preload the scripts and style sheets of the first view.

    The files are found in Gradio's own scripts, as their names contain hashes. Where another
    version of Gradio is built differently, nothing is preloaded.

    Args:
        front_end: Folder of Gradio's front end, with index.html and the folder assets.
        components: Names of the components of the first view, as Gradio's configuration has them.
    """
    try:
        files = dict.fromkeys(_first_files(front_end, components))
    except (OSError, LookupError, ValueError) as error:
        logger.debug("Nothing of Gradio's front end is preloaded: %s", error)
        return ""
    return "".join(
        _link(name)
        for name in files
        # The document names Gradio's first script, index-*.js, and its style sheet itself.
        if not name.startswith("index-") and (front_end / "assets" / name).is_file()
    )


def _link(name: str) -> str:
    if name.endswith(".css"):
        return f'<link rel="preload" as="style" crossorigin href="./assets/{name}">'
    return f'<link rel="modulepreload" crossorigin href="./assets/{name}">'


def _first_files(front_end: Path, components: Iterable[str]) -> Iterator[str]:
    """Yield the files in the order in which Gradio imports them.

    Raises:
        OSError: A file cannot be read.
        LookupError: A script does not import what is expected.
    """
    entry = _ENTRY.search((front_end / "index.html").read_text("utf-8"))
    if entry is None:
        raise LookupError("index.html names no script")
    script = _read(front_end, entry[1])
    for prefix in ("Index-", "Blocks-"):
        files = _imported(script, prefix)
        yield from files
        script = _read(front_end, files[0])
    registry = next((name for name in files if name.startswith("core-")), "")
    script = _read(front_end, registry)
    for component in components:
        _, found, rest = script.partition(f",{component}:{{")
        if not found:
            raise LookupError(f"{registry} has no component {component}")
        yield from _imported(script, "", rest.partition("component:")[2])


def _imported(script: str, prefix: str, part: str | None = None) -> list[str]:
    """Return the files of a dynamic import: the script, then its dependencies.

    Args:
        script: Content of the importing script.
        prefix: Beginning of the name of the imported script.
        part: Part of the script to search; None for the whole.
    """
    listed = _DEPENDENCIES.search(script)
    files = [] if listed is None else [each.strip('"./') for each in listed[1].split(",")]
    for name, indices in _IMPORT.findall(script if part is None else part):
        if name.startswith(prefix):
            return [name, *(files[int(index)] for index in indices.split(","))]
    raise LookupError(f"no script whose name starts with {prefix!r} is imported")


def _read(front_end: Path, script: str) -> str:
    return (front_end / "assets" / script).read_text("utf-8")
