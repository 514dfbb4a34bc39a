"""Scenarios: what a stock gRPC server also serves."""

import urllib.error

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

import protos
from checks import equal, scenario

MODULES = (protos.approval, protos.enrollment, protos.device, protos.admin)
SERVICES = {
    service.full_name: service
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
}


@scenario("grpc.health.v1: serving, as a whole and each service")
def health(world):
    stub = health_pb2_grpc.HealthStub(world.idp.channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for name in ("", *SERVICES):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
        equal(answer.status, serving, f"health of {name!r}")
    watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
    equal(next(watching).status, serving, "health watched")
    watching.cancel()
    try:
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=20)
    except grpc.RpcError as error:
        equal(error.code().name, "NOT_FOUND", "health of an unknown service")
    else:
        raise AssertionError("an unknown service has a health")


@scenario("server reflection v1alpha: services and descriptors")
def reflection_v1alpha(world):
    check_reflection(ProtoReflectionDescriptorDatabase(world.idp.channel))


@scenario("server reflection v1: services and descriptors")
def reflection_v1(world):
    check_reflection(ReflectionV1(world.idp.channel))


class ReflectionV1(ProtoReflectionDescriptorDatabase):
    """The same messages under the name of v1; the stock package has v1alpha only."""

    def __init__(self, channel):
        super().__init__(channel)
        self._stub.ServerReflectionInfo = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )


def check_reflection(database) -> None:
    listed = set(database.get_services())
    assert set(SERVICES) <= listed, f"missing: {set(SERVICES) - listed}"
    assert "grpc.health.v1.Health" in listed, "health is not listed"
    pool = DescriptorPool(database)
    for name, compiled in SERVICES.items():
        served = pool.FindServiceByName(name)
        equal(_calls(served), _calls(compiled), f"methods of {name}")
        for method in compiled.methods:
            for message in (method.input_type, method.output_type):
                equal(
                    _fields(pool.FindMessageTypeByName(message.full_name)),
                    _fields(message),
                    f"fields of {message.full_name}",
                )


def _calls(service) -> list:
    described = descriptor_pb2.ServiceDescriptorProto()
    service.CopyToProto(described)
    return [
        (call.name, call.input_type, call.output_type, call.server_streaming)
        for call in described.method
    ]


def _fields(message) -> list:
    return [(field.name, field.number, field.type) for field in message.fields]


@scenario("the HTTP port: healthz, readyz, metrics, JWKS, nothing else")
def http(world):
    for path in ("/healthz", "/readyz"):
        world.broker.get(path)
    metrics = world.broker.get("/metrics").decode()
    assert "# TYPE " in metrics, "no Prometheus text"
    keys = world.idp.jwks()["keys"]
    assert keys, "no keys"
    for key in keys:
        equal((key["kty"], key["crv"]), ("OKP", "Ed25519"), "key")
        assert "d" not in key, "a private key is published"
        equal(key["use"], "sig", "use")
    try:
        world.broker.get("/nothing")
    except urllib.error.HTTPError as error:
        equal(error.code, 404, "unknown path")
    else:
        raise AssertionError("an unknown path has an answer")
