"""The operator's side."""

import grpc

import protos


class Admin:
    """AdminService with one API key."""

    def __init__(self, broker, key: str):
        self._stub = protos.admin_grpc.AdminServiceStub(grpc.insecure_channel(broker.address))
        self._metadata = (("authorization", f"Bearer {key}"),)

    def call(self, rpc: str, /, **fields):
        """Any call, by its name; a stream is answered as one."""
        holder = protos.admin if hasattr(protos.admin, f"{rpc}Request") else protos.audit
        request = getattr(holder, f"{rpc}Request")(**fields)
        return getattr(self._stub, rpc)(request, metadata=self._metadata, timeout=60)

    def policy(self, tenant_id: str, mask=(), version: int = 0, preset: str | None = None, **fields):
        """Changes an organisation's rules."""
        request = {"tenant_id": tenant_id, "policy": protos.admin.TenantPolicy(**fields)}
        if mask:
            request["update_mask"] = {"paths": list(mask)}
        if preset is not None:
            request["preset"] = f"POLICY_PRESET_{preset}"
        return self.call("UpdatePolicy", **request, expected_version=version).policy
