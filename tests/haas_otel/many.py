"""A process that makes a great many task spans in several threads, and then tells what it holds.

    python many.py COUNT

The engine's part is played here: it hands the hooks a task run's record, first Running, then ended.
"""

import gc
import json
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.states import Completed, Failed, Running
from prefect.types._datetime import now

import haas_otel
from haas_otel import hooks, span


@haas_otel.task(name="One of many")
def one_of_many():
    """Never called: the hooks only ask the task for its own hooks."""


FLOW_RUN = FlowRun(flow_id=uuid4(), name="a long run", run_count=1)


def make(number):
    run = TaskRun(
        task_key="many", dynamic_key=str(number), flow_run_id=FLOW_RUN.id, start_time=now("UTC")
    )
    span.introduce(run, FLOW_RUN, task_type="OneOfManyTask", task_name=one_of_many.name)
    hooks.haas_otel_on_running(one_of_many, run, Running())
    with trace.use_span(hooks.live[run.id].span):
        trace.get_current_span().set_attribute("media.number", number)
    end = Failed(message="every tenth fails") if number % 10 == 0 else Completed()
    hooks.haas_otel_on_end(one_of_many, run, end)


def held():
    trace.get_tracer_provider().force_flush(60_000)
    for each in gc.get_objects():
        if isinstance(each, BatchLogRecordProcessor):
            each.force_flush(60_000)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def main():
    count = int(sys.argv[1])
    haas_otel.configure()
    tracemalloc.start()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(make, range(count // 2)))
        half = held()
        list(threads.map(make, range(count // 2, count)))
        whole = held()
    objects = [o for o in gc.get_objects() if isinstance(o, hooks.LiveSpan)]
    print(json.dumps({"live": len(hooks.live), "held": len(objects), "grown": whole - half}))


if __name__ == "__main__":
    main()
