//! Devices that are imported (`AdminService.ImportDevices`): how their ids follow
//! from what is known of them on both sides.

use crate::signing::sha256;

/// The most devices in one `ImportDevicesRequest`: each takes four rows of the
/// broker's store, and one commit holds about a thousand.
pub const MAX_IMPORTED_DEVICES: usize = 200;

/// What the hash begins with, so that it is nobody else's.
const LABEL: &[u8] = b"countersign/v1/imported-device";

/// The id of an imported device: a UUID of version 8 (RFC 9562, section 5.8), the
/// first 16 bytes of SHA-256 over
///
/// ```text
/// "countersign/v1/imported-device" 00 tenant id (16 bytes) 00 user id (UTF-8) 00 public key
/// ```
///
/// with version and variant set. `public_key` is as registered: 32 bytes
/// (Ed25519) or 65 (P-256, uncompressed). A user id has no zero byte, so that no
/// two inputs are the same bytes.
#[must_use]
pub fn imported_device_id(tenant_id: &[u8; 16], user_id: &str, public_key: &[u8]) -> [u8; 16] {
    let mut input =
        Vec::with_capacity(LABEL.len() + 3 + tenant_id.len() + user_id.len() + public_key.len());
    for part in [LABEL, tenant_id, user_id.as_bytes()] {
        input.extend_from_slice(part);
        input.push(0);
    }
    input.extend_from_slice(public_key);
    let digest = u128::from_be_bytes(first_half(&sha256(&input)));
    let version = 0xf << 76;
    let variant = 0b11 << 62;
    (digest & !(version | variant) | 0x8 << 76 | 0b10 << 62).to_be_bytes()
}

fn first_half(digest: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(digest.split_at(16).0);
    half
}
