"""Compiles the .proto files into a folder of its own and imports them."""

import atexit
import importlib
import importlib.resources
import pathlib
import shutil
import sys
import tempfile

from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[3]
NAMES = ("challenge", "event", "approval", "enrollment", "device", "audit", "admin")


def _compile() -> None:
    out = tempfile.mkdtemp(prefix="countersign-protos-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    arguments = [
        "protoc",
        f"-I{ROOT / 'proto'}",
        f"-I{well_known}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        *(f"countersign/v1/{name}.proto" for name in NAMES),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("the protos do not compile")
    sys.path.insert(0, out)


_compile()

challenge = importlib.import_module("countersign.v1.challenge_pb2")
event = importlib.import_module("countersign.v1.event_pb2")
approval = importlib.import_module("countersign.v1.approval_pb2")
approval_grpc = importlib.import_module("countersign.v1.approval_pb2_grpc")
enrollment = importlib.import_module("countersign.v1.enrollment_pb2")
enrollment_grpc = importlib.import_module("countersign.v1.enrollment_pb2_grpc")
device = importlib.import_module("countersign.v1.device_pb2")
device_grpc = importlib.import_module("countersign.v1.device_pb2_grpc")
audit = importlib.import_module("countersign.v1.audit_pb2")
admin = importlib.import_module("countersign.v1.admin_pb2")
admin_grpc = importlib.import_module("countersign.v1.admin_pb2_grpc")
