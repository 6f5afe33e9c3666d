"""The tables. Times are seconds since 1970, UTC. Migrations build exactly this; a test compares them."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_Id = BigInteger().with_variant(Integer, "sqlite")

identity = Table(
    "identity",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("created", Float, nullable=False),
    Column("term", Integer, nullable=False, server_default="0", comment="counts the processes that have acted"),
    Column("mark", String(32), comment="a random word that tells this database from any other"),
    comment="one row: the server's name, constant",
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("key", String(32), nullable=False, unique=True, comment="made by the client, so that a repeat is known"),
    Column("name", Text, nullable=False),
    Column("renderer", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("first", BigInteger, nullable=False, comment="smallest frame id"),
    Column("last", BigInteger, nullable=False, comment="largest frame id"),
    Column("settings", JSON, nullable=False),
    Column("content", JSON, nullable=False, server_default="[]", comment="elements of the settings, canonical XML"),
    Column("outputs", JSON, nullable=False, server_default="[]", comment="files beyond those of the renderer"),
    Column("lanes", JSON, nullable=False, server_default="[]", comment="its renderers, where it has several"),
    Column("time_limit", Float, nullable=False, comment="seconds that one attempt may take"),
    Column("silence_limit", Float, comment="seconds without a word after which an attempt is ended"),
    Column("memory_limit", BigInteger, comment="bytes"),
    Column("output_limit", BigInteger, comment="bytes"),
    Column("attempts", Integer, nullable=False, comment="failures that a frame may have before it fails"),
    Column("manifest", String(64), nullable=False),
    Column("manifest_size", BigInteger, nullable=False),
    Column("counts", JSON, nullable=False, comment="frames by state"),
    Column("created", Float, nullable=False),
    Column("ended", Float),
    Column(
        "needed", Integer, nullable=False, server_default="0", comment="1: frames somewhere need frames of this job"
    ),
    Column("next_file", BigInteger, nullable=False, server_default="0", comment="the next file id to be given"),
    Column("deleted", Float, comment="since when it is being deleted"),
    sqlite_autoincrement=True,
    comment="AUTOINCREMENT: an id is never issued twice, not even after the newest job is deleted",
)
Index("ix_jobs_state_priority", jobs.c.state, jobs.c.priority)

groups = Table(
    "groups",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("renderer", Text, comment="null: the job's"),
    Column("label", Text),
    Column("settings", JSON, nullable=False),
    Column("content", JSON, nullable=False),
    Column("outputs", JSON, nullable=False),
    Column("offset", _Id, nullable=False, server_default="0", comment="a frame's id less the number that it renders"),
    Column(
        "intermediate", Boolean, nullable=False, server_default=false(), comment="its frames are no part of the result"
    ),
    ForeignKeyConstraint(["job"], ["jobs.id"], ondelete="CASCADE"),
    comment="frames that differ from the rest of their job; what they lack they have from the job",
)

files = Table(
    "files",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("path", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    ForeignKeyConstraint(["job"], ["jobs.id"], ondelete="CASCADE"),
)

frames = Table(
    "frames",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("issue", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("attempts", Integer, nullable=False, comment="how many there have been; the number of the latest"),
    Column(
        "pardoned",
        Integer,
        nullable=False,
        server_default="0",
        comment="workers that issues up to this one have ended count no more",
    ),
    Column("queue", Text),
    Column("worker", Text),
    Column("token", String(32)),
    Column("started", Float),
    Column("ended", Float),
    Column("result", String(64)),
    Column("result_size", BigInteger),
    Column("reason", Text),
    Column("not_before", Float, nullable=False),
    Column("needs", Integer, nullable=False, server_default="0", comment="how many frames it needs"),
    Column("waits_for", Integer, nullable=False, server_default="0", comment="how many of those are not done"),
    Column("starved", Integer, nullable=False, server_default="0", comment="1: failed as one of those did"),
    Column("group", Integer, comment="its group's number; null: as the job says"),
    Column("lane", Integer, nullable=False, server_default="0", comment="which of the job's renderers renders it"),
    ForeignKeyConstraint(["job"], ["jobs.id"], ondelete="CASCADE"),
)
Index(
    "ix_frames_ready",
    frames.c.job,
    frames.c.lane,
    frames.c.id,
    sqlite_where=frames.c.state == "ready",
    postgresql_where=frames.c.state == "ready",
)
Index(
    "ix_frames_issued",
    frames.c.queue,
    sqlite_where=frames.c.queue.is_not(None),
    postgresql_where=frames.c.queue.is_not(None),
)

dependencies = Table(
    "dependencies",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("frame", _Id, primary_key=True, autoincrement=False),
    Column("of_job", _Id, primary_key=True, autoincrement=False, comment="the frame that is needed"),
    Column("of_frame", _Id, primary_key=True, autoincrement=False),
    ForeignKeyConstraint(["job"], ["jobs.id"], ondelete="CASCADE"),
    sqlite_with_rowid=False,
)
Index("ix_dependencies_of", dependencies.c.of_job, dependencies.c.of_frame)

attempts = Table(
    "attempts",
    metadata,
    Column("token", String(32), primary_key=True),
    Column("job", _Id, nullable=False),
    Column("frame", _Id, nullable=False),
    Column("number", Integer, nullable=False, comment="counts from 1 in its frame, in the order heard of"),
    Column("issue", Integer, nullable=False),
    Column("worker", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("seconds", Float),
    Column("reason", Text),
    Column("log", LargeBinary, comment="zlib-compressed text"),
    Column("memory", BigInteger, comment="bytes that it held at once at most"),
    Column("processor", Float, comment="seconds of processor time"),
    Column("file", BigInteger, comment="file id of its result; that of its log is the next one"),
    Column("result", String(64)),
    Column("result_size", BigInteger),
    ForeignKeyConstraint(["job"], ["jobs.id"], ondelete="CASCADE"),
)
Index("ix_attempts_job_frame", attempts.c.job, attempts.c.frame)
Index("ix_attempts_job_file", attempts.c.job, attempts.c.file)

workers = Table(
    "workers",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("renderers", JSON, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("room", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("cores", Integer, nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("sandboxed", Integer, nullable=False),
    Column("seen", Float, nullable=False),
    Column("started", Float, nullable=False, server_default="0", comment="when its process began"),
    Column("quarantine", Text, comment="why this process gets no frames"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("exchange", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    comment="messages that a committed change owes to the broker; a row goes when the broker has confirmed it",
)

peers = Table(
    "peers",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("address", Text, comment="amqp:// URL of its broker, with the password; null where it reaches ours"),
    Column("secret", Text, comment="password of its user on our broker; null where we reach its"),
    Column("instance", String(32), comment="of the peer, once it has been heard"),
    Column("created", Float, nullable=False),
    Column("epoch", String(32), nullable=False, comment="names the numbering of what we send"),
    Column("sent", BigInteger, nullable=False, server_default="0", comment="highest number given"),
    Column("their_epoch", String(32)),
    Column("handled", BigInteger, nullable=False, server_default="0", comment="highest number of theirs dealt with"),
    Column("software", Text),
    Column("seen", Float),
)

peer_outbox = Table(
    "peer_outbox",
    metadata,
    Column("peer", String(63), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created", Float, nullable=False),
    comment="messages that a peer has not confirmed",
)

peer_jobs = Table(
    "peer_jobs",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("peer", String(63), nullable=False, index=True),
    ForeignKeyConstraint(["job"], ["jobs.id"], ondelete="CASCADE"),
    comment="jobs that came from a peer",
)

loans = Table(
    "loans",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("frame", _Id, primary_key=True, autoincrement=False),
    Column("peer", String(63), primary_key=True),
    Column("issue", Integer, nullable=False),
    ForeignKeyConstraint(["job"], ["jobs.id"], ondelete="CASCADE"),
    comment="frames that a peer has been lent and has not brought back",
)

loan_jobs = Table(
    "loan_jobs",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("peer", String(63), primary_key=True),
    Column("priority", Integer, nullable=False, comment="as the peer has been told"),
    comment="jobs of which a peer has been lent frames, until it is told that they have ended",
)

loan_results = Table(
    "loan_results",
    metadata,
    Column("token", String(32), primary_key=True),
    Column("peer", String(63), nullable=False),
    Column("body", LargeBinary, nullable=False, comment="frame.completed"),
    comment="results of lent frames whose tarball is still at the peer",
)

guests = Table(
    "guests",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("peer", String(63), nullable=False),
    Column("of_job", _Id, nullable=False, comment="the job's id at the peer"),
    Column("renderer", Text, nullable=False),
    ForeignKeyConstraint(["job"], ["jobs.id"], ondelete="CASCADE"),
    comment="jobs that hold frames which a peer has lent us",
)
Index("ix_guests_of_job", guests.c.of_job)

guest_frames = Table(
    "guest_frames",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("frame", _Id, primary_key=True, autoincrement=False),
    Column("issue", Integer, nullable=False, comment="the lender's"),
    Column("render", LargeBinary, nullable=False, comment="the lender's frame.render"),
    Column("arriving", Integer, nullable=False, comment="1: its inputs are not all here yet"),
    Column("told", String(32), comment="the token of the attempt that the lender has been told of"),
    ForeignKeyConstraint(["job"], ["jobs.id"], ondelete="CASCADE"),
    comment="frames that a peer has lent us and that have not been brought back",
)

far_jobs = Table(
    "far_jobs",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("peer", String(63), nullable=False),
    Column("of_job", _Id, nullable=False, comment="the job's id at the peer"),
    ForeignKeyConstraint(["job"], ["jobs.id"], ondelete="CASCADE"),
    comment="jobs that stand for those of peers, with the frames of theirs that ours need",
)

watches = Table(
    "watches",
    metadata,
    Column("peer", String(63), primary_key=True),
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("frame", _Id, primary_key=True, autoincrement=False),
    Column("told", String(80), comment="what the peer has been told of the frame last"),
    comment="frames of ours that frames of peers need",
)

moves = Table(
    "moves",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("peer", String(63), nullable=False),
    Column("key", String(32), nullable=False, comment="made by the client, so that a repeat is known"),
    Column("state", String(16), nullable=False, comment="leaving, sent, moved or refused"),
    Column("paused", Integer, nullable=False, comment="1: it was paused before"),
    Column("became", _Id, comment="the job's id at the peer"),
    Column("error", Text, comment="the class of the error that it was refused with"),
    Column("reason", Text, comment="and its line"),
    comment="jobs that were handed over to a peer, or are on their way there; they outlive the job itself",
)
