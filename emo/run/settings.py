"""The section `ray` of the configuration."""

from pydantic import Field

from emo.section import Section


class GrowsTo(Section):
    """What all workers of an autoscaling cluster together may hold."""

    cpus: int = Field(0, ge=0)
    """The most CPUs of the whole cluster."""
    gpus: int = Field(0, ge=0)
    """The most GPUs of the whole cluster."""


class Ray(Section):
    """The Ray cluster that a run uses."""

    address: str | None = None
    """The address of a running cluster. `null` is what RAY_ADDRESS names. Where neither names one, models run
    on a fresh cluster on this machine, and what needs no model in processes of its own, without Ray. `local`
    runs everything on a fresh cluster.
    """
    num_cpus: int | None = Field(None, ge=1)
    """The CPUs of a fresh cluster on this machine. `null` is all of them."""
    grows_to: GrowsTo | None = None
    """The most that the cluster may become where an autoscaler or a person adds nodes. `null` is what its
    autoscaler allows.
    """
