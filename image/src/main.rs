//! Writes the image of keyferry.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Makes the container image of a built keyferry, without a container engine.
///
/// The libraries that the program is linked to and the certificate authorities are this machine's.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The built program.
    #[arg(long, value_name = "FILE", default_value = "target/release/keyferry")]
    binary: PathBuf,

    /// Repository and tag of the image.
    #[arg(long, value_name = "NAME:TAG", default_value = concat!("localhost/keyferry:", env!("CARGO_PKG_VERSION")))]
    name: String,

    /// Write an OCI archive, as `docker load`, `podman load` and `ctr images import` take it.
    #[arg(long, value_name = "FILE", required_unless_present = "folder")]
    archive: Option<PathBuf>,

    /// Write the files into a new folder, as the Dockerfile copies it.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let image = keyferry_image::keyferry(&cli.name, &cli.binary)?;
    if let Some(folder) = &cli.folder {
        image.write_folder(folder)?;
    }
    if let Some(archive) = &cli.archive {
        image.write_archive(archive)?;
    }
    Ok(())
}
