"""A DuckDB of somebody else's attaches to the served warehouse, directly and through a proxy with TLS."""

import contextlib
import re
import shutil
import subprocess

import duckdb
import pytest
import requests
from server import free_port, serving
from waiting import PATIENCE, wait_for

from udfs.serving.quack import load_quack


@pytest.fixture(scope="module")
def server(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quack")
    shutil.copy(built, folder / "w.duckdb")
    shutil.copytree(built.parent / "w_files", folder / "w_files")
    with serving(folder / "w.duckdb") as found:
        yield found


def test_a_reader_reads_tables_and_runs_models_on_the_server(server):
    con = server.attach()
    query = "select uri, len(detect(uri, 'box')) as defects from raw.images order by uri limit 20"
    rows = con.execute(f"from wh.query($${query}$$)").fetchall()
    assert len(rows) == 20
    assert con.execute("from wh.query('select count(*) from raw.images')").fetchone() == (36,)
    admin = server.attach("admin")
    admin.execute("from wh.query('create table shared as select 7 as a')").fetchall()
    assert server.attach().execute("select a from wh.main.shared").fetchone() == (7,)


def test_an_error_travels_back(server):
    with pytest.raises(duckdb.Error, match=r"there is no 'nothing'\. Registered: area, box, kind, odd"):
        server.attach().execute("from wh.query($$select predict(uri, 'nothing') from raw.images$$)").fetchall()


@pytest.mark.parametrize(
    "sql",
    [
        "create table mine as select 1 as a",
        "insert into raw.images select * from raw.images",
        "copy raw.images to '/tmp/stolen.csv'",
        "attach '/tmp/other.duckdb'",
        "from read_text('/etc/passwd')",
        "install httpfs",
        "set threads = 1",
        "select 1; select 2",
    ],
)
def test_a_reader_is_refused_what_is_not_reading_and_the_server_goes_on(server, sql):
    con = server.attach()
    with pytest.raises(duckdb.Error, match="Authorization failed"):
        con.execute(f"from wh.query($${sql}$$)").fetchall()
    assert server.says("refused: bob (reader) over Quack")
    assert con.execute("from wh.query('select 42')").fetchone() == (42,)


def test_a_query_that_would_never_end_is_refused_before_it_begins_and_memory_is_limited(server):
    con = server.attach()
    for sql in ("select count(*) from range(10_000_000_000)", "select len(range(800_000_000))"):
        with pytest.raises(duckdb.Error, match="Authorization failed"):
            con.execute(f"from wh.query('{sql}')").fetchall()
    assert server.says("by its plan it goes through 1e+10 rows, and a reader's may go through 1e+09")
    assert server.says("range() as a value must have a length that is written down")
    settings = "select current_setting('memory_limit'), current_setting('max_temp_directory_size')"
    memory, temporary = server.attach("admin").execute(f"from wh.query($${settings}$$)").fetchone()
    assert temporary == "10.0 GiB"
    assert memory != duckdb.execute("select current_setting('memory_limit')").fetchone()[0]


def test_a_writer_writes_rows_and_no_more(server):
    con = server.attach("writer")
    con.execute("from wh.query('create table work.notes as select 1 as a')").fetchall()
    con.execute("from wh.query('insert into work.notes select range from range(5000)')").fetchall()
    con.execute("from wh.query('create view work.many as select count(*) as a from work.notes')").fetchall()
    assert server.attach().execute("from wh.query('from work.many')").fetchone() == (5001,)
    server.attach("admin").execute("from wh.query('create table targets as select 7 as a')").fetchall()
    refused = ("delete from raw.images", "update targets set a = 8", "drop table targets", "create table mine (a int)")
    for sql in refused:
        with pytest.raises(duckdb.Error, match="Authorization failed"):
            con.execute(f"from wh.query('{sql}')").fetchall()
    with pytest.raises(duckdb.Error, match="Authorization failed"):
        server.attach("writer").execute("insert into wh.main.targets select 8")
    assert server.attach().execute("from wh.main.targets").fetchall() == [(7,)]


@pytest.mark.parametrize("token", ["", "wrong", "dsk_wrong"])
def test_nobody_attaches_without_a_token(server, token):
    con = duckdb.connect()
    load_quack(con)
    with pytest.raises(duckdb.Error, match=r"Authentication failed|[Tt]oken"):
        con.execute(f"attach 'quack:127.0.0.1:{server.quack_port}' as wh (token '{token}')")
    assert server.attach().execute("from wh.query('select 1')").fetchone() == (1,)


def test_a_token_that_is_taken_away_ends_what_it_began(server):
    from udfs.serving.tokens import add_token, remove_token

    server.tokens["guest"] = add_token(server.tokens_file, "guest", "reader")
    con = server.attach("guest")
    assert con.execute("from wh.query('select 1')").fetchone() == (1,)
    remove_token(server.tokens_file, "guest")
    with pytest.raises(duckdb.Error, match="Authorization failed"):
        con.execute("from wh.query('select 1')").fetchall()


NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
{recipe}
}}
"""


def test_the_readme_recipe_for_tls_works(server, tmp_path):
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("NO NGINX: the recipe for TLS is not tested here")
    from pathlib import Path

    readme = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()
    recipe = re.search(r"```nginx\n(.*?)```", readme, re.DOTALL)[1]
    key, certificate, port, quack = tmp_path / "key.pem", tmp_path / "cert.pem", free_port(), free_port()
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    for old, new in {
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen 9443": f"listen 127.0.0.1:{quack}",
        "127.0.0.1:8480": server.url.removeprefix("http://"),
        "127.0.0.1:9494": f"127.0.0.1:{server.quack_port}",
        "/etc/ssl/plant.key": str(key),
        "/etc/ssl/plant.crt": str(certificate),
    }.items():
        assert old in recipe
        recipe = recipe.replace(old, new)
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(folder=tmp_path, recipe=recipe))
    with subprocess.Popen([nginx, "-c", str(config), "-p", str(tmp_path)]) as proxy:
        try:

            def healthz():
                with contextlib.suppress(requests.ConnectionError):
                    url = f"https://localhost:{port}/healthz"
                    return requests.get(url, verify=str(certificate), timeout=PATIENCE).text

            assert wait_for(healthz, (tmp_path / "error.log").read_text) == "ok"
            con = duckdb.connect()
            load_quack(con)
            con.execute("set ca_cert_file = $1", [str(certificate)])
            token = server.tokens["reader"]
            con.execute(f"attach 'quack:localhost:{quack}' as wh (token '{token}', disable_ssl false)")
            assert con.execute("from wh.query('select count(*) from raw.images')").fetchone() == (36,)
        finally:
            proxy.terminate()
