//! moto, which speaks the APIs of AWS. It takes any credentials.

use std::path::Path;

use anyhow::Result;

use super::{Probe, Server, Spec, free_port};
use crate::description::Moto as Access;
use crate::install::Tools;

pub(crate) async fn start(tools: &Tools, dir: &Path) -> Result<(Server, Access)> {
    let server = Server::start(|| spec(tools, dir)).await?;
    let url = server.spec.ready.url().trim_end_matches(READY).to_owned();
    Ok((server, Access { url }))
}

const READY: &str = "/moto-api/";

fn spec(tools: &Tools, dir: &Path) -> Result<Spec> {
    let port = free_port()?;
    Ok(Spec {
        name: "moto",
        program: tools.python.clone(),
        args: ["-m", "moto.server", "-H", "127.0.0.1", "-p"]
            .map(str::to_owned)
            .into_iter()
            .chain([port.to_string()])
            .collect(),
        dir: dir.to_owned(),
        log: dir.join("moto.log"),
        inside: None,
        ready: Probe::plain(format!("http://127.0.0.1:{port}{READY}")),
    })
}
