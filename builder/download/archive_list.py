"""Read the list of archives of a data set's part: a text file with one URL per line."""

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from builder.catalog.files import read_text
from builder.download.official import ArchivePart, File
from builder.errors import BuilderError
from builder.plain_name import is_plain_name

_MOST_BYTES = 20 * 10**9  # of an archive of Kinetics; they have about 2 GB


def listed_archives(part: ArchivePart, folder: Path) -> list[File]:
    """The archives of a part, from its list below `folder`. Raises BuilderError if the list names
    anything but archives on the server that the list itself comes from."""
    path = folder / part.archives.name
    server = urlsplit(part.archives.url)
    files = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        url = line.strip()
        if not url:
            continue
        name = _file_name(url)
        if not name.endswith((".tar.gz", ".tgz")) or not is_plain_name(name):
            problem, hint = "is no URL of a .tar.gz", ""
        elif not url.startswith(f"{server.scheme}://{server.netloc}/"):
            problem = f"is not on {server.netloc}, where the official archives are"
            hint = " (A mirror: --base-url)"
        else:
            files.append(
                File(url, f"{part.name}/{name}", makes=part.name, into=part.name, most=_MOST_BYTES)
            )
            continue
        raise BuilderError(
            f"{path}, line {number}: {url[:80]!r} {problem}. Delete the file and give the same "
            f"command again: it is downloaded anew.{hint}"
        )
    return files


def _file_name(url: str) -> str:
    """The file name in a URL; "" if the URL is invalid or not http(s)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return PurePosixPath(unquote(parts.path)).name if parts.scheme in ("http", "https") else ""
