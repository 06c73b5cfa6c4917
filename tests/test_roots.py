"""Which places outside this machine a query may read, whatever a URL's spelling and wherever a web server sends."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import picture

from models_py.errors import ImageError
from models_py.images import ImageLimits
from models_py.images.decode import open_bytes
from models_py.warehouse.location import StoredUris
from udfs.runtime.allowed_roots import VARIABLE, AllowedRoots
from udfs.runtime.image_reader import ImageReader, ImageSource
from udfs.runtime.urls import split_roots
from udfs.session.session import Session

PNG = picture(1, format="png")


@pytest.fixture
def asked(monkeypatch):
    """A web server that allows all; what was asked of it, and its address."""
    paths = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            path, _, target = self.path.partition("?to=")
            self.send_response(302 if target else 404 if "missing" in path else 200)
            if target:
                self.send_header("Location", target)
            if "silent" not in path:  # else the end of the connection is the end of the file
                self.send_header("Content-Length", str(len(PNG)))
            self.end_headers()
            self.wfile.write(PNG)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        address = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv(VARIABLE, f"http://{address}/allowed/")
        yield paths, address
        server.shutdown()
        thread.join()


def read(uri):
    return ImageReader(AllowedRoots(list, StoredUris())).read(ImageSource(uri, None)).data


@pytest.mark.parametrize(
    "path", ["/allowed/a.png", "/allowed/b/c/my image.png", "/allowed/100%25.png", "/allowed/a.png?size=/../1#top"]
)
def test_what_is_below_an_allowed_url_is_read(asked, path):
    paths, address = asked
    assert read(f"http://{address}{path}") == PNG
    assert read(f"HTTP://{address}{path}") == PNG
    assert len(paths) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/internal1.png",
        "/allowed",
        "/allowedly/a.png",
        "/allowed/../internal1.png",
        "/allowed/%2e%2e/internal1.png",
        "/allowed/%2E./internal1.png",
        "/allowed/.%2e%2finternal1.png",
        "/allowed/%252e%252e/internal1.png",
        "/allowed/b/..",
        "/allowed/./a.png",
        "/allowed/..;a=b/internal1.png",
        "/allowed/..\\internal1.png",
        "/allowed/..%5cinternal1.png",
        "/allowed/..%2finternal1.png",
        "/allowed/.\n./internal1.png",
        "/allowed/.%0a./internal1.png",
        "/allowed/a.png::file:///etc/hostname",
    ],
)
def test_no_spelling_leads_beside_an_allowed_url(asked, path):
    paths, address = asked
    with pytest.raises(ImageError):
        read(f"http://{address}{path}")
    assert paths == []


@pytest.mark.parametrize(
    "url",
    [
        "http://{0}@127.0.0.1:9/allowed/a.png",
        "http://user@{0}/allowed/a.png",
        "http://127.0.0.1:9\\@{0}/allowed/a.png",
        "http://127.0.0.1:9#@{0}/allowed/a.png",
        "http://127.0.0.1/allowed/a.png",
        "http://127%2e0.0.1:9/allowed/a.png",
        "http:///allowed/a.png",
        "http://[::1/allowed/a.png",
        "http://127.0.0.1:99999/allowed/a.png",
        "https://{0}/allowed/a.png",
        "simplecache::http://{0}/allowed/a.png",
    ],
)
def test_no_spelling_leads_to_another_host(asked, url):
    paths, address = asked
    with pytest.raises(ImageError):
        read(url.format(address))
    assert paths == []


def test_a_redirection_is_followed_to_what_is_allowed(asked):
    paths, address = asked
    for target in ("a.png", "/allowed/b.png", f"http://{address}/allowed/c.png", "/allowed/d.png?to=e.png"):
        assert read(f"http://{address}/allowed/x?to={target}") == PNG
    assert paths[-1] == "/allowed/e.png"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/internal1.png", "redirects elsewhere: .*is outside"),
        ("../internal1.png", "redirects elsewhere: .*is outside"),
        ("%2e%2e/internal1.png", "redirects elsewhere: .*(must not go up|is outside)"),
        ("http://localhost:1/allowed/a.png", "redirects elsewhere: .*is outside"),
        ("file:///etc/hostname", "no web address"),
        ("/allowed/b?to=/internal1.png", "redirects elsewhere: .*is outside"),
    ],
)
def test_a_redirection_is_not_followed_elsewhere(asked, target, reason):
    paths, address = asked
    with pytest.raises(ImageError, match=reason):
        read(f"http://{address}/allowed/x?to={target}")
    assert not any(path.startswith("/internal1") for path in paths)


def test_redirections_without_end_are_given_up(asked):
    paths, address = asked
    url = f"http://{address}/allowed/x"
    with pytest.raises(ImageError, match="more than 5 times"):
        open_bytes(f"{url}?to={url}", lambda _: f"{url}?to={url}")
    assert len(paths) == 5


def test_a_web_server_that_has_no_such_file_says_so(asked):
    with pytest.raises(ImageError, match=r"missing\.png: cannot be read: 404"):
        read(f"http://{asked[1]}/allowed/missing.png")


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        ("/a:/b", ["/a", "/b"]),
        ("/a::/b:", ["/a", "/b"]),
        ("/a:s3://bucket/x:/b", ["/a", "s3://bucket/x", "/b"]),
        ("http://h:8080:https://h/a:s3://b:rel", ["http://h:8080", "https://h/a", "s3://b", "rel"]),
        ("http://h:8080/a:file:///b", ["http://h:8080/a", "file:///b"]),
        ("http://[::1]:80/a:/b", ["http://[::1]:80/a", "/b"]),
        ("http://h:/b", ["http://h", "/b"]),
        ("", []),
    ],
)
def test_roots_are_separated_by_colons_that_are_not_of_a_url(text, roots):
    assert split_roots(text) == roots


def test_roots_may_be_folders_and_urls_and_neither_allows_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("s3:/bucket", "s3", "bucket", "open"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "a.png").write_bytes(PNG)
    monkeypatch.setenv(
        VARIABLE, f"s3://bucket/set:{tmp_path}/open:S3://other:http://Host:80/x:http://u@h/y:http://h/z?a"
    )
    roots = AllowedRoots(list, StoredUris())
    assert roots.open("open/a.png").uri == f"{tmp_path}/open/a.png"
    assert roots.open("s3://bucket/set/a%b/c#1.png").uri == "s3://bucket/set/a%b/c#1.png"
    assert roots.open("s3://other/a.png").uri == "s3://other/a.png"
    assert roots.open("HTTP://hOST/x/a.png").uri == "http://host/x/a.png"
    for uri in ("s3:/bucket/a.png", "./s3:/bucket/a.png", "s3/a.png", "bucket/a.png", "/bucket/a.png"):
        with pytest.raises(ImageError, match=r"is outside|no such file"):
            roots.open(uri)
    for uri in ("s3://bucket/a.png", "s3://bucket/set/../a.png", "s3://bucket/settled/a.png", "http://h/y/a.png"):
        with pytest.raises(ImageError, match=r"is outside|must not go up"):
            roots.open(uri)
    with pytest.raises(
        ImageError,
        match=r"ignored: http://u@h/y must name a host, without a user.*http://h/z\?a must not have a question mark",
    ):
        roots.open("http://h/y/a.png")


def test_an_image_with_a_query_allows_its_folder_and_no_other(con):
    for url in ("http://h/set/a.jpg?sign=/x/y", "s3://bucket/key?/b.jpg", "/images/a.jpg"):
        con.execute(
            "insert into raw.files (uri, size_bytes, version, role, layout, seen_at, first_uri) "
            "values ($1, 1, '', 'image', 'images', now(), $1)",
            [url],
        )
    folders = Session.of(con)._folders()
    assert {"http://h/set", "s3://bucket/key?", "/images"} <= set(folders)
    roots = AllowedRoots(lambda: folders, StoredUris())
    assert roots.open("http://h/set/a.jpg?sign=/x/y").uri == "http://h/set/a.jpg?sign=/x/y"
    assert roots.open("s3://bucket/key?/b.jpg").uri == "s3://bucket/key?/b.jpg"
    with pytest.raises(ImageError, match="is outside"):
        roots.open("http://h/a.jpg?sign=/set/y")


@pytest.mark.parametrize("name", ["a.png", "silent.png"], ids=["size stated", "size not stated"])
@pytest.mark.parametrize("allow", [None, str], ids=["ours", "a query's"])
def test_a_remote_file_is_read_no_further_than_the_limit(asked, name, allow):
    url = f"http://{asked[1]}"
    assert open_bytes(f"{url}/{name}", allow, ImageLimits(size_bytes=len(PNG))) == PNG
    with pytest.raises(ImageError, match=f"oversized: more than the limit of {len(PNG) - 1:,} bytes"):
        open_bytes(f"{url}/{name}", allow, ImageLimits(size_bytes=len(PNG) - 1))


def test_neither_is_a_file_here_or_in_another_store(tmp_path):
    import fsspec

    (tmp_path / "a.png").write_bytes(PNG)
    fsspec.filesystem("memory").pipe("/a.png", PNG)
    for uri in (str(tmp_path / "a.png"), "memory://a.png"):
        assert open_bytes(uri, None, ImageLimits(size_bytes=len(PNG))) == PNG
        with pytest.raises(ImageError, match=rf"a\.png: oversized: more than the limit of {len(PNG) - 1:,} bytes"):
            open_bytes(uri, None, ImageLimits(size_bytes=len(PNG) - 1))
