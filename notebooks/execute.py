"""Executes every notebook in place; the same data give the same files. `make notebooks` runs it in the checkout."""

from __future__ import annotations

import sys
import time
import zlib
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

HERE = Path(__file__).parent
# Measured on two cores.
SECONDS_EACH = 13
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def execute(path: Path) -> Any:
    """Return a notebook with its outputs, without anything that depends on the day or the machine."""
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as directory:
        # Communicates through files, because anybody on this machine could connect to loopback ports.
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{directory}/kernel"}})
        place = {"metadata": {"path": str(Path.cwd())}}
        NotebookClient(notebook, config=config, timeout=120, record_timing=False, resources=place).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
        for output in cell.get("outputs", []):
            if output.output_type == "execute_result":
                output.execution_count = None
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = b64encode(squeeze(b64decode(output.data["image/png"]))).decode()
                # ruff, which also formats notebooks, would write 390.96 for 390.96000000000004.
                output.metadata["image/png"] = {
                    name: round(pixels, 2) for name, pixels in output.metadata["image/png"].items()
                }
    return notebook


def squeeze(picture: bytes) -> bytes:
    """Return the same PNG with maximum compression: a third of the size."""
    chunks, place = [], len(SIGNATURE)
    while place < len(picture):
        end = place + 8 + int.from_bytes(picture[place : place + 4], "big")
        chunks.append((picture[place + 4 : place + 8], picture[place + 8 : end]))
        place = end + 4
    pixels = zlib.compress(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")), 9)
    rest = [(kind, data) for kind, data in chunks if kind not in (b"IDAT", b"IEND")]
    parts = [SIGNATURE]
    for kind, data in (*rest, (b"IDAT", pixels), (b"IEND", b"")):
        parts += [len(data).to_bytes(4, "big"), kind, data, zlib.crc32(kind + data).to_bytes(4, "big")]
    return b"".join(parts)


def main(names: list[str]) -> None:
    """Execute the named notebooks, by default all."""
    paths = [Path(name) for name in names] or sorted(HERE.glob("*.ipynb"))
    print(f"Executing notebooks, about {SECONDS_EACH * len(paths)} seconds ...", flush=True)
    for path in paths:
        began = time.monotonic()
        notebook = execute(path)
        nbformat.write(notebook, path)
        kinds = [
            kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})
        ]
        pictures, tables = kinds.count("image/png"), kinds.count("text/html")
        print(f"{path.name:<30} {pictures} pictures, {tables} tables, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
