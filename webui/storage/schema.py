"""The tables of `console.db`. Times are seconds since the epoch; secrets are kept as SHA-256 or Argon2id, but for those
of second factors, with which codes are computed."""

from __future__ import annotations

from sqlalchemy import Float, ForeignKey, Index, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Names for all constraints: SQLite cannot alter one that has none, and Alembic's batch mode needs to say which."""

    type_annotation_map = {float: Float()}
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class User(Base):
    """Somebody who may log in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    created_at: Mapped[float]


class SecondFactor(Base):
    """What a user's device computes codes with. `confirmed_at` None: shown, but no code of it was given yet.

    `last_step`: the period of 30 s whose code was used last; a code opens once.
    """

    __tablename__ = "second_factors"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    secret: Mapped[str]
    confirmed_at: Mapped[float | None]
    last_step: Mapped[int] = mapped_column(default=0)


class RecoveryCode(Base):
    """Opens once in place of a device."""

    __tablename__ = "recovery_codes"

    code_sha256: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))


class LoginSession(Base):
    """One browser that is logged in; the cookie holds the token, this table only its SHA-256."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[float]
    last_seen_at: Mapped[float]
    expires_at: Mapped[float]
    address: Mapped[str]
    agent: Mapped[str]


class AuditEntry(Base):
    """One thing that somebody did or was refused; never changed, never deleted by the console."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    who: Mapped[str]
    address: Mapped[str]
    action: Mapped[str]
    was_done: Mapped[bool]
    sentence: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")

    __table_args__ = (Index(None, "at"),)
