//! Makes the folder of the built page exist, so that the server builds without it (the server then
//! says that the page was not built), and builds the server again when the page was built again.

use std::path::Path;

fn main() {
    let dist = Path::new("../web/dist");
    if !dist.exists()
        && let Err(error) = std::fs::create_dir_all(dist)
    {
        println!("cargo::error=cannot create {}: {error}", dist.display());
    }
    println!("cargo::rerun-if-changed=../web/dist");
}
