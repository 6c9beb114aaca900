//! Generates the wire types with protox, so that no protoc is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 5] = [
    "posthouse/v1/common.proto",
    "posthouse/v1/publisher.proto",
    "posthouse/v1/consumer.proto",
    "posthouse/v1/messages.proto",
    "posthouse/v1/queues.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=posthouse");
    println!("cargo:rerun-if-changed=google");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("posthouse.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        // Few messages have one, and all would be larger by it.
        .boxed(".posthouse.v1.Message.dead_letter")
        .codec_path("crate::SizedCodec")
        .extern_path(".posthouse.v1.DeliveryBatch", "crate::DeliveryBatch")
        .compile_fds(descriptors)?;
    Ok(())
}
