//! Generates the logged and persisted types (package `posthouse.store.v1`) with protox.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=schema");
    let files = ["posthouse/store/v1/command.proto", "posthouse/store/v1/row.proto"];
    let descriptors = protox::compile(files, ["schema"])?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]).btree_map(["."]);
    // Few commands have a request, and without the box all commands would have its size.
    for change in ["CreateQueue", "UpdateQueue", "DeleteQueue", "PurgeQueue", "RedriveDeadLetters"] {
        config.boxed(format!(".posthouse.store.v1.{change}.request"));
    }
    config.compile_fds(descriptors)?;
    Ok(())
}
