"""`python -m bench.faults.mps_client ROLE [HANDLE]`: a process with work on the GPU, told and asked in lines.

A *holder* owns memory, fills it with a pattern and exports it, as the resident does; a *worker* maps it, reads it and
runs a kernel without pause, as a worker does. A line in, a line out:

    count    a worker's steps that are done and were seen to be right
    check    holder: whether the pattern is whole
    fault    worker: write to an illegal address

A worker that CUDA gives an error says `error NAME` once, whatever it is asked, and ends.
"""

from __future__ import annotations

import ctypes
import select
import sys
from typing import Any

from engine.device.cuda_driver import call, driver
from engine.errors import SemiPDError

HELD_BYTES = 256 << 20
PATTERN = 0x5E3D1C0B
TURNS = 2000

KERNELS = b"""
.version 7.8
.target sm_80
.address_size 64
.visible .entry busy(.param .u64 at, .param .u32 turns)
{
    .reg .pred %p;
    .reg .u32 %turns, %done, %value;
    .reg .u64 %at;
    ld.param.u64 %at, [at];
    ld.param.u32 %turns, [turns];
    mov.u32 %done, 0;
again:
    ld.volatile.global.u32 %value, [%at];
    add.u32 %value, %value, 1;
    st.volatile.global.u32 [%at], %value;
    add.u32 %done, %done, 1;
    setp.lt.u32 %p, %done, %turns;
    @%p bra again;
    ret;
}
.visible .entry fault()
{
    .reg .u32 %value;
    .reg .u64 %at;
    mov.u64 %at, 16;
    mov.u32 %value, 1;
    st.global.u32 [%at], %value;
    ret;
}
\x00"""


class Context:
    """The device's primary context in this process."""

    def __init__(self) -> None:
        call(driver.cuInit, 0)
        self._device = call(driver.cuDeviceGet, 0)
        call(driver.cuCtxSetCurrent, call(driver.cuDevicePrimaryCtxRetain, self._device))

    def wait(self) -> None:
        call(driver.cuCtxSynchronize)

    def words(self, address: Any, count: int) -> ctypes.Array[ctypes.c_uint32]:
        """`count` 32-bit words of the device's memory."""
        found = (ctypes.c_uint32 * count)()
        call(driver.cuMemcpyDtoH, ctypes.addressof(found), address, ctypes.sizeof(found))
        return found


def hold() -> None:
    """As the resident: memory that others map, and that must outlive them."""
    context = Context()
    memory = call(driver.cuMemAlloc, HELD_BYTES)
    call(driver.cuMemsetD32, memory, PATTERN, HELD_BYTES // 4)
    context.wait()
    say(bytes(call(driver.cuIpcGetMemHandle, memory).reserved).hex())
    for _ in sys.stdin:
        whole = bytes(context.words(memory, HELD_BYTES // 4)) == PATTERN.to_bytes(4, "little") * (HELD_BYTES // 4)
        say("whole" if whole else "changed")


def work(handle: str) -> None:
    """As a worker. What it has been told to do is looked at between two steps."""
    context = Context()
    exported = driver.CUipcMemHandle()
    exported.reserved = bytes.fromhex(handle)
    held = call(driver.cuIpcOpenMemHandle, exported, driver.CUipcMem_flags.CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
    module = call(driver.cuModuleLoadData, KERNELS)
    busy, fault = (call(driver.cuModuleGetFunction, module, name) for name in (b"busy", b"fault"))
    own, steps = call(driver.cuMemAlloc, 4096), 0
    call(driver.cuMemsetD32, own, 0, 1024)
    say("ready")
    while True:
        if select.select([sys.stdin], [], [], 0)[0]:
            if not (told := sys.stdin.readline()):
                return
            if told.strip() == "fault":
                launch(fault)
            else:
                say(str(steps))
        launch(busy, int(own), TURNS)
        context.wait()
        counted, pattern = context.words(own, 1)[0], context.words(held, 1)[0]
        steps += 1
        if counted != steps * TURNS % (1 << 32) or pattern != PATTERN:
            raise SemiPDError(f"WRONG_RESULT: {counted} after {steps} steps, {pattern:x} in what is held")


def launch(kernel: Any, *arguments: int) -> None:
    """One thread of it; what it is given is an address and a number, or nothing."""
    given = (arguments, (ctypes.c_void_p, ctypes.c_uint32)) if arguments else 0
    call(driver.cuLaunchKernel, kernel, 1, 1, 1, 1, 1, 1, 0, 0, given, 0)


def say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    role, *handle = sys.argv[1:]
    try:
        hold() if role == "holder" else work(*handle)
    except SemiPDError as error:
        say(f"error {error}")
        sys.exit(3)


if __name__ == "__main__":
    main()
