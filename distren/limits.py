"""What a server takes in, apart from the other settings: the process that examines jobs starts without those."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """What a server takes in: larger jobs are refused. docs/reference/distrenjob.md has them in a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: int = Field(default=100_000, ge=1, description="files of a job")
    path_bytes: int = Field(default=1_024, ge=16, le=4_096, description="bytes of a path in UTF-8")
    file_bytes: int = Field(default=32 * 2**30, ge=1, description="bytes of one file")
    total_bytes: int = Field(default=128 * 2**30, ge=1, description="bytes of all files of a job")
    header_bytes: int = Field(default=64 * 2**10, ge=512, description="bytes of one extended header of a tarball")
    ratio: int = Field(default=200, ge=1, description="how many times larger than a tarball its files may be")
    jobfile_bytes: int = Field(default=8 * 2**20, ge=1_024, le=64 * 2**20, description="bytes of a distrenjob.xml")
    jobfile_nodes: int = Field(
        default=200_000, ge=10, description="elements, attributes, namespaces and comments of a distrenjob.xml together"
    )
    jobfile_depth: int = Field(default=32, ge=6, le=256, description="how deep its elements may be nested")
    jobfile_attribute: int = Field(default=2**20, ge=1_024, description="characters of one attribute")
    frames: int = Field(default=2_000_000, ge=1, le=2_000_000, description="frames of a job")
    examination_seconds: int = Field(default=2, ge=1, description="processor time for examining one job, seconds")
    examination_memory: int = Field(default=256 * 2**20, ge=2**26, description="memory for examining one job, bytes")
    examination_patience: int = Field(default=30, ge=1, description="time for examining one job, seconds")
