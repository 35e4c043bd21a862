from __future__ import annotations

from pathlib import Path

import pytest

from certshelf.doctor.bindings import apache, nginx
from certshelf.doctor.place import overlap
from certshelf.iis import applicationhost


@pytest.mark.parametrize(
    ("folder", "shelf", "where"),
    [
        ("/srv/www", "/srv/shelf", ""),
        ("/srv/www", "/srv/www2", ""),
        ("/srv", "/srv/shelf", "above"),
        ("/", "/srv/shelf", "above"),
        ("/srv/shelf/", "file:///srv/shelf", "at"),
        ("/srv/shelf/www", "/srv/x/../shelf", "in"),
        (r"\\FILES\Certs", "smb://files/certs", "at"),
        (r"\\files\certs\www", "smb://files:445/certs", "in"),
        (r"\\files", "smb://files/certs/shelf", "above"),
        (r"\\other\certs", "smb://files/certs", ""),
        (r"C:\inetpub", "c:/inetpub/shelf", "above"),
        (r"D:\inetpub", r"C:\inetpub", ""),
        ("/srv", "s3://bucket/shelf", ""),
    ],
)
def test_where_a_published_folder_lies_of_a_shelf(folder: str, shelf: str, where: str) -> None:
    assert overlap(folder, shelf) == where


def test_roots_and_aliases_of_nginx_are_read_but_not_computed_ones() -> None:
    text = "http { root /srv/a; server { location / { alias '/srv/b'; root /srv/$host; } } }"
    assert nginx.read(text).folders == ("/srv/a", "/srv/b")


def test_document_roots_and_aliases_of_apache_are_read() -> None:
    text = 'DocumentRoot "/srv/a"\n<VirtualHost *:443>\nAlias /x /srv/b\n</VirtualHost>\n'
    assert apache.read(text).folders == ("/srv/a", "/srv/b")


def test_virtual_directories_of_iis_are_read(tmp_path: Path) -> None:
    text = (
        "<configuration><system.applicationHost><sites><site name='a'><application path='/'>"
        r"<virtualDirectory path='/' physicalPath='C:\inetpub\a' />"
        r"<virtualDirectory path='/x' physicalPath='\\files\certs' />"
        "</application></site></sites></system.applicationHost></configuration>"
    )
    assert applicationhost.folders(text.encode()) == [r"C:\inetpub\a", r"\\files\certs"]
