"""Preloading of Gradio's scripts, as its installed version and others are built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from demo.preload import preload_links

_ENTRY = '<script type="module" src="./assets/index-1.js"></script>'


def _imports(*files: str) -> str:
    """Return a script that imports the first of these files, as Vite writes it."""
    listed = ",".join(f'"./{name}"' for name in files)
    indices = ",".join(map(str, range(1, len(files))))
    return (
        f"const __vite__mapDeps=(i,d=(m.f||(m.f=[{listed}])))=>i.map(i=>d[i]);"
        f"v(()=>import(`./{files[0]}`),__vite__mapDeps([{indices}]),import.meta.url)"
    )


@pytest.fixture
def front_end(tmp_path: Path) -> Path:
    """Write a front end with one component, in the form of Gradio's."""
    (tmp_path / "index.html").write_text(f"<head>{_ENTRY}</head>", "utf-8")
    scripts = {
        "index-1.js": _imports("Index-2.js", "core-3.js", "Index-4.css"),
        "Index-2.js": _imports("Blocks-5.js", "index-1.js", "core-3.js"),
        "core-3.js": 'm.f=["./Index-6.js","./Index-7.css","./gone.js"];var V={box:{component:()=>'
        "v(()=>import(`./Index-8.js`),__vite__mapDeps([1]))},row:{base:()=>v(()=>import("
        "`./Row-9.js`),__vite__mapDeps([1])),component:()=>v(()=>import(`./Index-6.js`),"
        "__vite__mapDeps([0,1,2]))}}",
    }
    (tmp_path / "assets").mkdir()
    empty = ["Index-4.css", "Blocks-5.js", "Index-6.js", "Index-7.css", "Index-8.js", "Row-9.js"]
    for name, content in (scripts | dict.fromkeys(empty, "")).items():
        (tmp_path / "assets" / name).write_text(content, "utf-8")
    return tmp_path


def test_links_are_in_the_order_of_the_imports(front_end: Path) -> None:
    names = re.findall(r"assets/([^\"]+)", preload_links(front_end, ["row"]))
    assert names == [
        *("Index-2.js", "core-3.js", "Index-4.css", "Blocks-5.js"),
        *("Index-6.js", "Index-7.css"),
    ]


def test_style_sheets_are_not_preloaded_as_scripts(front_end: Path) -> None:
    links = preload_links(front_end, ["row"]).replace("><", ">\n<").splitlines()
    for link in links:
        kind = 'rel="preload" as="style"' if ".css" in link else 'rel="modulepreload"'
        assert f"<link {kind} crossorigin " in link


@pytest.mark.parametrize("name", ["index.html", "assets/index-1.js", "assets/core-3.js"])
def test_unknown_front_end_layout_is_not_preloaded(front_end: Path, name: str) -> None:
    (front_end / name).write_text("something else", "utf-8")
    assert preload_links(front_end, ["row"]) == ""
    (front_end / name).unlink()
    assert preload_links(front_end, ["row"]) == ""


def test_unknown_component_prevents_preloading(front_end: Path) -> None:
    assert preload_links(front_end, ["row", "column"]) == ""


def test_installed_gradio_is_preloaded() -> None:
    assert preload_links().count("<link") > 40
