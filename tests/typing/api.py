"""Only the type checker reads this: the public API as users write it."""

from certshelf import HostName

host: HostName = HostName.parse("www.example.com")
files: tuple[str, ...] = host.file_names()
