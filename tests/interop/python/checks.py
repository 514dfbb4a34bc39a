"""Assertions that say what was seen, and the list of scenarios."""

import contextlib
import threading
import time
import traceback

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

SCENARIOS: list = []


def scenario(title: str):
    """Registers a function as a scenario."""

    def register(function):
        SCENARIOS.append((title, function))
        return function

    return register


def for_both_algorithms(title: str):
    """Registers a function as two scenarios, one per kind of device key."""

    def register(function):
        for algorithm in ("ED25519", "P256"):
            SCENARIOS.append(
                (f"{title} [{algorithm}]", lambda world, a=algorithm: function(world, a))
            )
        return function

    return register


def equal(seen, wanted, what: str) -> None:
    assert seen == wanted, f"{what}: {seen!r}, not {wanted!r}"


def details(error: grpc.RpcError) -> dict:
    """The google.rpc details of an error, by message name."""
    status = rpc_status.from_call(error)
    found = {}
    for packed in status.details if status else ():
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.RetryInfo,
        ):
            if packed.Is(kind.DESCRIPTOR):
                found[kind.DESCRIPTOR.name] = kind.FromString(packed.value)
    return found


@contextlib.contextmanager
def refused(code: str, reason: str | None = None, field: str | None = None):
    """The call inside fails with this gRPC code ("A|B": either), with ErrorInfo
    always, and with what else belongs to the code. Afterwards the details are in
    what it gave."""
    told: dict = {}
    try:
        yield told
    except grpc.RpcError as error:
        seen = f"{error.code().name}: {error.details()}"
        assert error.code().name in code.split("|"), f"{seen}, not {code}"
        found = details(error)
        assert "ErrorInfo" in found, f"no ErrorInfo with {seen}"
        told.update(found)
        equal(found["ErrorInfo"].domain, "countersign", "domain")
        if error.code().name in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"):
            assert "RetryInfo" in found, f"no RetryInfo with {seen}"
        if error.code().name == "INVALID_ARGUMENT":
            assert "BadRequest" in found, f"no BadRequest with {seen}"
        assert found["ErrorInfo"].reason == found["ErrorInfo"].reason.upper() != "", "reason"
        if reason is not None:
            equal(found["ErrorInfo"].reason, reason, f"reason of {seen}")
        if field is not None:
            fields = [violation.field for violation in found["BadRequest"].field_violations]
            assert field in fields, f"field: {fields!r} lacks {field!r}"
        return
    raise AssertionError(f"the call went through, {code} was due")


class Background:
    """A call that runs meanwhile; its result or its failure is had by join()."""

    def __init__(self, function):
        self._function, self._result, self._error = function, None, None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error

    def join(self, seconds: float = 60):
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"not done after {seconds} s"
        if self._error is not None:
            raise self._error
        return self._result


def run(world) -> tuple[int, int]:
    """Runs every scenario; how many passed and failed."""
    passed = failed = 0
    for title, function in SCENARIOS:
        start = time.monotonic()
        try:
            function(world)
        except Exception as error:
            failed += 1
            print(f"FAILED  {title}: {type(error).__name__}: {error}", flush=True)
            traceback.print_exc()
        else:
            passed += 1
            print(f"ok      {title} ({time.monotonic() - start:.2f} s)", flush=True)
    return passed, failed
