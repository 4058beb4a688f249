"""Cost of hostile photos and hostile connections, for docs/SECURITY.md and docs/BENCHMARKS.md."""

from __future__ import annotations

from pathlib import Path

from bench.figures import Section, write_tables
from bench.photos import Photos
from bench.security_connections import attack_connections
from bench.security_photos import attack_photos

__all__ = ["security"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "SECURITY.md"


def security(photos: Photos, folder: Path) -> Section:
    """Attack service and page, and write the costs of each attack to docs/SECURITY.md.

    Args:
        photos: Photos that the other client sends meanwhile.
        folder: Folder for log files.
    """
    section = Section(
        "Security",
        "The highest costs of the attacks, which docs/SECURITY.md lists one by one. Attacker, "
        "server and the other client run on the same processors.",
    )
    tables = [*attack_photos(section, photos, folder), *attack_connections(section, folder)]
    write_tables(tables, _PAGE, section="security")
    return section
