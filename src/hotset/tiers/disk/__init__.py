"""The level on disk: see `tier`."""

try:
    import lmdb  # noqa: F401
except ImportError as error:
    raise ImportError("DiskTier needs: pip install 'hotset[disk]'") from error

from hotset.tiers.disk.tier import DiskStats, DiskTier

__all__ = ["DiskStats", "DiskTier"]
