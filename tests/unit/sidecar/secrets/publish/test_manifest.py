"""The manifest of a generation."""

from __future__ import annotations

from pathlib import Path

from sidecar.secrets.publish.directory_swap import FileContent, GenerationDirectory
from sidecar.secrets.publish.manifest import Manifest, ManifestEntry


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    entry = ManifestEntry(source="pki", version="3f:0a", expires_at="2026-11-02T13:00:00Z", files=("tls.crt",))
    written = Manifest(generation=7, published_at="2026-11-02T12:00:00.000Z", secrets={"tls": entry})
    directory = GenerationDirectory(tmp_path, require_tmpfs=False)
    directory.publish(written, {"tls.crt": FileContent(data=b"x")})
    assert directory.current() == written


def test_a_version_that_is_a_number_is_one_in_the_file() -> None:
    entries = {
        name: ManifestEntry(source="kv", version=version, expires_at=None, files=("a",))
        for name, version in {"numbered": "3", "named": "3f:0a", "none": ""}.items()
    }
    tree = Manifest(generation=7, published_at="2026-11-02T12:00:00.000Z", secrets=entries).tree()
    assert {name: entry["version"] for name, entry in tree["secrets"].items()} == {
        "numbered": 3,
        "named": "3f:0a",
        "none": None,
    }
    assert list(tree) == ["version", "generation", "published_at", "secrets"]
