"""What is asked of a release in a machine, and bundles of releases that are to fail."""

from __future__ import annotations

from pathlib import Path

from tests.lab.lab import Lab

MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    op.create_table("later", sa.Column("id", sa.Integer, primary_key=True))
"""


def in_force(lab: Lab) -> str:
    return lab.run("readlink", "/opt/semi-pd/current").strip().removeprefix("releases/")


def is_served(lab: Lab) -> bool:
    return '"ready"' in lab.run("curl", "--silent", "http://127.0.0.1:8000/health")


def break_gateway(bundle: Path) -> None:
    """Its gateway does not start, which comes out when its controller has changed the database already."""
    gateway = bundle / "engine" / "gateway" / "__main__.py"
    gateway.write_text('raise SystemExit("this release is broken")\n')
    versions = bundle / "migrations" / "appliance" / "versions"
    head = max(path.name[:4] for path in versions.glob("0*.py"))
    (versions / "9999_what_an_older_release_does_not_know.py").write_text(MIGRATION.format(head=head))


def change_format(bundle: Path) -> None:
    """Its processes speak another version of the wire protocol."""
    codec = bundle / "engine" / "wire" / "codec.py"
    codec.write_text(codec.read_text().replace("PROTOCOL_VERSION = 1", "PROTOCOL_VERSION = 2"))
