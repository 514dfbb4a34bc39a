//! Compiles the `.proto` files without `protoc`.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let files = [
        "challenge",
        "event",
        "approval",
        "enrollment",
        "device",
        "audit",
        "admin",
    ]
    .map(|name| root.join(format!("countersign/v1/{name}.proto")));
    println!(
        "cargo:rerun-if-changed={}",
        root.join("countersign").display()
    );
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("countersign.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::LeanCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
