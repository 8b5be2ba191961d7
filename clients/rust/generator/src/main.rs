//! Writes the generated code: `generator PROTO_FOLDER OUT_FOLDER`. It needs no protoc.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const FILES: [&str; 5] = [
    "duebus/v1/event_bus.proto",
    "duebus/v1/admin.proto",
    "duebus/v1/schedules.proto",
    "duebus/v1/error_details.proto",
    "duebus/v1/test_clock.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [protos, out] = arguments.as_slice() else {
        return Err("usage: generator PROTO_FOLDER OUT_FOLDER".into());
    };
    generate(Path::new(protos), Path::new(out))
}

fn generate(protos: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let files = protox::compile(FILES, [protos])?;
    fs::create_dir_all(out)?;
    tonic_prost_build::configure()
        // The server halves are for this crate's own tests.
        .server_mod_attribute(".", "#[cfg(test)]")
        .out_dir(out)
        .compile_fds(files)?;
    Ok(())
}
