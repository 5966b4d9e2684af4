"""A site as its engineer writes it: engine.yaml, channels; loading and checking."""

from interop_engine.config.loader import check, examine, in_order, load
from interop_engine.config.site import ChannelConfig, DestinationConfig, Site

__all__ = ["ChannelConfig", "DestinationConfig", "Site", "check", "examine", "in_order", "load"]
