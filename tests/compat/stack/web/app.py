"""Counts visits in redis and keeps them in postgres."""

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg2
import redis

SITE = json.loads(Path("/etc/site.json").read_text())
PASSWORD = Path("/run/secrets/db_password").read_text().strip()
CACHE = redis.Redis("cache")


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        database = psycopg2.connect(host="db", user="postgres", password=PASSWORD, dbname="postgres")
        with database, database.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS visits (number bigint)")
            cursor.execute("INSERT INTO visits VALUES (%s)", (CACHE.incr("visits"),))
            cursor.execute("SELECT count(*), max(number) FROM visits")
            rows, last = cursor.fetchone()
        database.close()
        body = json.dumps({"title": SITE["title"], "host": socket.gethostname(), "rows": rows, "visits": last}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8000), Page).serve_forever()
