"""Goes through the whole Python API on the machine it is on, and tells what happens.

python examples/semi_pd/semi_pd_example.py
python examples/semi_pd/semi_pd_example.py --device cpu --prefill 50 --decode 50
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from pathlib import Path

import torch

from appliance.coordinator import SemiPDCoordinator, create_semi_pd_coordinator
from appliance.instance import publish_keys
from appliance.rotation import SMAllocation
from appliance.slo import WorkloadMetrics
from engine.config import DEMO_MODEL, InstanceRole, PortArgs, ServerArgs
from engine.storage import UnifiedStorageManager

KEY = "sk-example"


def main() -> None:
    options = parse_options()
    server_args = ServerArgs(model_path=options.model, device=options.device, port=options.port)
    port_args = PortArgs.init_new(server_args)
    publish_keys(port_args, [KEY])

    tell(1, "Unified storage: blocks that several processes map, share and give back.")
    show_storage()

    tell(2, f"The coordinator starts the engine at {options.prefill}/{options.decode}.")
    began = time.monotonic()
    with create_semi_pd_coordinator(
        server_args=server_args,
        port_args=port_args,
        prefill_sm_percentage=options.prefill,
        decode_sm_percentage=options.decode,
        ttft_target_ms=options.ttft_ms,
        tpot_target_ms=options.tpot_ms,
    ) as coordinator:
        say(f"It serves after {time.monotonic() - began:.1f} s.")
        show_processes(coordinator)

        tell(3, "A request over HTTP, as any OpenAI client sends it.")
        say(ask(server_args, "What does os.path.join do?"))

        tell(4, "A rotation: two other processes, at another split, take over.")
        show_rotation(coordinator, SMAllocation(options.decode, options.prefill))
        say(ask(server_args, "Hello!"))

        tell(5, "The SLO policy: it is told how the load is, and decides once a window.")
        show_policy(coordinator)

        tell(6, "Health: " + json.dumps(coordinator.health_check()))
    say("Everything has ended.")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, help="Hugging Face model directory")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--port", type=int, default=8000, help="port of the REST endpoint")
    parser.add_argument("--prefill", type=int, default=70, help="prefill's share of the SMs, in percent")
    parser.add_argument("--decode", type=int, default=30, help="decode's share of the SMs, in percent")
    parser.add_argument("--ttft-ms", type=float, default=500.0, help="target of the time to the first token")
    parser.add_argument("--tpot-ms", type=float, default=50.0, help="target of the time a token")
    return parser.parse_args()


def show_storage() -> None:
    with UnifiedStorageManager(total_blocks=1000, block_size=4096, device=torch.device("cpu")) as storage:
        blocks = storage.allocate_blocks(request_id="req_123", num_blocks=10, requester_role=InstanceRole.PREFILL)
        say(f"Blocks {blocks} belong to req_123; its handles say where their bytes are.")
        shared = storage.share_blocks("req_123", "req_124")
        say(
            f"Shared with req_124, not copied: {shared}. Shared with a request that shares with nobody: "
            f"{storage.share_blocks('nobody', 'req_125')}."
        )
        storage.deallocate_blocks("req_123")
        storage.deallocate_blocks("req_124")
        say(f"All given back: {storage.get_statistics().free_blocks} of 1000 blocks are free.")


def show_processes(coordinator: SemiPDCoordinator) -> None:
    for worker in coordinator.get_comprehensive_status()["scheduler"]["workers"]:
        sms = f", {worker['sm_count']} SMs" if worker["sm_count"] else ""
        say(f"Process {worker['pid']}: {' and '.join(worker['phases'])}, {worker['share_percentage']} %{sms}.")


def show_rotation(coordinator: SemiPDCoordinator, allocation: SMAllocation) -> None:
    success = coordinator.rotation_manager.request_sm_reallocation(allocation, reason="example")
    say(f"{coordinator.get_comprehensive_status()['rotations'][-1]['sentence']} Result: {success}.")
    show_processes(coordinator)


def show_policy(coordinator: SemiPDCoordinator) -> None:
    coordinator.report_workload_metrics(
        WorkloadMetrics(
            timestamp=time.time(),
            prefill_queue_length=5,
            decode_queue_length=10,
            prefill_throughput=1000.0,
            decode_throughput=2000.0,
            ttft_p95=80.0,
            tpot_p95=40.0,
            prefill_utilization=0.7,
            decode_utilization=0.8,
        )
    )
    record = coordinator.slo_manager.decide()
    say(record.sentence if record else "Nobody serves, and nothing is to decide.")


def ask(server_args: ServerArgs, question: str) -> str:
    connection = http.client.HTTPConnection(server_args.host, server_args.port, timeout=120)
    body = {
        "model": server_args.model_name,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 60,
        "temperature": 0,
    }
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = json.load(connection.getresponse())
    return f"{question} {answer['choices'][0]['message']['content']}"


def tell(number: int, line: str) -> None:
    print(f"\n{number}. {line}", flush=True)


def say(line: str) -> None:
    print(f"   {line}", flush=True)


if __name__ == "__main__":
    main()
