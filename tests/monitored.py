"""What OpenTelemetry saw of Redis, for tests."""

import socket
from contextlib import contextmanager

from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@contextmanager
def nowhere():
    """The address of a port where no server can start meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


class Spans:
    """The spans that have ended, without those of the tests' own clients."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def of(self, function, *arguments):
        """The spans of what ``function`` does."""
        self.exporter.clear()
        function(*arguments)
        return self.exporter.get_finished_spans()

    def names_of(self, function, *arguments):
        return [span.name for span in self.of(function, *arguments)]

    def text(self) -> str:
        """Everything that the spans contain."""
        return "".join(span.to_json() for span in self.exporter.get_finished_spans())


@contextmanager
def instrumented(**hooks):
    """While OpenTelemetry replaces redis-py's methods."""
    spans = Spans()
    RedisInstrumentor().instrument(tracer_provider=spans.provider, **hooks)
    try:
        yield spans
    finally:
        RedisInstrumentor().uninstrument()
