"""Settings made to fit this machine, and what may be offered on it: looks at the GPU and at the profiles kept."""

from __future__ import annotations

import os
import shutil
from typing import NamedTuple

from appliance.gpu import Gpu, mps_daemons, this_gpu
from appliance.kernels import kernel_notice
from appliance.mps import MPS_CONTROL
from appliance.profile.offer import Offer, offer
from appliance.profile.store import Kept, ProfileStore
from appliance.sharing import Sharing, sharing
from engine.allocation import SMAllocation
from engine.config import Mode, ServerArgs
from engine.device.detect import detect_device
from engine.errors import CannotStart
from engine.profile.key import ProfileKey


class Fitted(NamedTuple):
    """Settings resolved for the device that this machine can serve with, and what it has to offer."""

    settings: ServerArgs
    offer: Offer
    notices: list[str]


def fitted(settings: ServerArgs, initial: SMAllocation, attached: bool = False) -> Fitted:
    """For an appliance that is to start at the split `initial`; with `attached` its processes run already.

    Raises `CannotStart` for a split that is not offered.
    """
    if attached:
        settings = settings.for_device(detect_device(settings.device))
        found = offered(settings)
        return Fitted(settings, found, list(found.notices))
    shared = shared_device(settings)
    found = offered(shared.settings)
    if shared.settings.mode is not Mode.COLOCATED and (refusal := found.refusal(initial)):
        raise CannotStart(f"The split {initial} is not offered. {refusal}")
    to_build = [notice] if (notice := kernel_notice(shared.settings)) else []
    return Fitted(shared.settings, found, [*shared.notices, *found.notices, *to_build])


def shared_device(settings: ServerArgs) -> Sharing:
    """How two workers share the device, or why they cannot. Raises `CannotStart`."""
    settings = settings.for_device(detect_device(settings.device))
    if settings.device == "cpu":
        return Sharing(settings, [])
    try:
        gpu = this_gpu(settings.gpu)
    except CannotStart as error:  # what is not known does not keep anybody from trying
        return Sharing(settings, [str(error)])
    return sharing(settings, gpu, shutil.which(MPS_CONTROL) is not None, mps_daemons())


def offered(settings: ServerArgs) -> Offer:
    """What there is to choose from. A model that cannot be served has no profile: who loads it says what is wrong."""
    try:
        kept = ProfileStore.of_user().find(key_of(settings))
    except CannotStart:
        kept = Kept()
    return offer(settings, kept)


def key_of(settings: ServerArgs) -> ProfileKey:
    """`settings` are resolved for a device. Raises `CannotStart` for a GPU or a model that is not known."""
    if settings.device == "cpu":
        return ProfileKey.of(settings, f"CPU, {os.cpu_count()} cores", "")
    gpu: Gpu = this_gpu(settings.gpu)
    return ProfileKey.of(settings, gpu.name, gpu.driver)
