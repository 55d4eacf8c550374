"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RESOLUTIONS = ("second", "minute", "hour")
INDEXES = {"decisions": "decided_at", "events": "at", "rotations": "asked_at", "slo_targets": "set_at"}


def upgrade() -> None:
    for resolution in RESOLUTIONS:
        create_metrics(f"metrics_{resolution}")
    create_attainment()
    create_history()
    create_settings()
    for table, column in INDEXES.items():
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    for table in ("events", "keys", "rotations", "decisions", "slo_targets", "attainment"):
        op.drop_table(table)
    for resolution in RESOLUTIONS:
        op.drop_table(f"metrics_{resolution}")


def create_metrics(name: str) -> None:
    op.create_table(
        name,
        sa.Column("time", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(count, sa.Integer(), nullable=False) for count in ("samples", "requests", "attained")),
        *(sa.Column(count, sa.Integer(), nullable=False) for count in ("ttft_violated", "tpot_violated")),
        *(sa.Column(f"ttft_p{part}_ms", sa.Float()) for part in (50, 95, 99)),
        *(sa.Column(f"tpot_p{part}_ms", sa.Float()) for part in (50, 95, 99)),
        sa.Column("ttft_target_ms", sa.Float(), nullable=False),
        sa.Column("tpot_target_ms", sa.Float(), nullable=False),
        sa.Column("ttft_counts", sa.JSON(), nullable=False),
        sa.Column("tpot_counts", sa.JSON(), nullable=False),
        *(sa.Column(mean, sa.Float()) for mean in ("waiting", "prefilling", "decoding", "kv_used_pages")),
        sa.Column("kv_total_pages", sa.Integer()),
        sa.Column("preemptions", sa.Integer(), nullable=False),
        sa.Column("prefill_tokens_per_second", sa.Float()),
        sa.Column("decode_tokens_per_second", sa.Float()),
        sa.Column("split_asked", sa.String()),
        sa.Column("split_in_force", sa.String()),
        sa.Column("prefill_sms", sa.Integer()),
        sa.Column("decode_sms", sa.Integer()),
        sa.Column("gpu_memory_bytes", sa.Integer()),
        sa.Column("gpu_power_watts", sa.Float()),
        sa.Column("gpu_utilization", sa.Float()),
        sa.Column("confidence", sa.Float()),
        sa.Column("prediction_error", sa.Float()),
        sa.PrimaryKeyConstraint("time", name=f"pk_{name}"),
    )


def create_attainment() -> None:
    op.create_table(
        "attainment",
        sa.Column("time", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("span_seconds", sa.Integer(), nullable=False),
        sa.Column("in_force_seconds", sa.Integer(), nullable=False),
        *(sa.Column(count, sa.Integer(), nullable=False) for count in ("requests", "attained")),
        *(sa.Column(count, sa.Integer(), nullable=False) for count in ("ttft_violated", "tpot_violated")),
        sa.Column("ttft_counts", sa.JSON(), nullable=False),
        sa.Column("tpot_counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("time", "split", name="pk_attainment"),
    )


def create_history() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("decided_at", sa.Float(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("in_force", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("confidence", sa.Float()),
        sa.Column("was_taken", sa.Boolean()),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error", sa.Float()),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sa.UniqueConstraint("run", "number", name="uq_decisions_run_number"),
    )
    op.create_table(
        "rotations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("asked", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("live_seconds", sa.Float()),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rotations"),
        sa.UniqueConstraint("run", "number", name="uq_rotations_run_number"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )


def create_settings() -> None:
    op.create_table(
        "slo_targets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        *(sa.Column(target, sa.Float(), nullable=False) for target in ("ttft_ms", "tpot_ms")),
        *(sa.Column(span, sa.Float(), nullable=False) for span in ("window_seconds", "cooldown_seconds")),
        sa.Column("min_confidence", sa.Float(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_slo_targets"),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("requests_per_minute", sa.Integer()),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("expires_at", sa.Float()),
        sa.Column("last_used_at", sa.Float()),
        sa.Column("revoked_at", sa.Float()),
        sa.Column("revoked_by", sa.String()),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("name", name="uq_keys_name"),
        sa.UniqueConstraint("sha256", name="uq_keys_sha256"),
        sqlite_autoincrement=True,
    )
