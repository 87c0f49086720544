"""The results as a static site: no external asset, no request, readable from ``file://``."""

from leaderboard.site.build import write_site

__all__ = ["write_site"]
